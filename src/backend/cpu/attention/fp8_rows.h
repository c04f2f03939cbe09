// SPDX-License-Identifier: Apache-2.0
// Rows of an FP8 cache become bfloat16 ones, in memory of a task, for the kernels that read those.
#pragma once

#include <algorithm>
#include <cstring>

#include "ops/attention.h"

namespace braid::cpu {

using DecodeFp8 = void (*)(const std::uint8_t* codes, float scale, int n, std::uint16_t* out);

// Elements [first, first + count) of a row.
inline void decode_row(const ops::Fp8Row& format, const void* row, int first, int count, DecodeFp8 decode, std::uint16_t* out) {
  const auto* bytes = static_cast<const std::uint8_t*>(row);
  const int end = first + count;
  for (int i = first; i < std::min(end, format.elements);) {
    const int next = std::min({(i / format.group + 1) * format.group, end, format.elements});
    float scale;
    std::memcpy(&scale, bytes + format.scales_at() + 4 * (i / format.group), sizeof(scale));
    decode(bytes + i, scale, next - i, out + (i - first));
    i = next;
  }
  const int plain = std::max(first, format.elements);
  if (end > plain) std::memcpy(out + (plain - first), bytes + format.plain_at() + 2 * (plain - format.elements), static_cast<std::size_t>(2 * (end - plain)));
}

// Elements from one decoded row to the next.
inline std::int64_t decoded_stride(int dim) { return (dim + 31) / 32 * 32; }

// The `dim` elements of one kv head in each of `count` rows; `at` points to rows before, to decoded ones after.
inline void decode_rows(const ops::Rows& rows, int kv_head, int dim, int count, DecodeFp8 decode, const void** at, std::uint16_t* to) {
  const auto first = static_cast<int>(rows.first + kv_head * rows.head_stride);
  for (int i = 0; i < count; ++i, to += decoded_stride(dim)) {
    decode_row(rows.fp8, at[i], first, dim, decode, to);
    at[i] = to;
  }
}

}  // namespace braid::cpu
