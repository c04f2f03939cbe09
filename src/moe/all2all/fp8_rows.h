// SPDX-License-Identifier: Apache-2.0
// A row of activations as bytes for the wire: e4m3 codes, then one float32 scale for every 128
// columns. A group's largest magnitude (at least 1e-4) becomes 448, so that an element is off by at
// most 1/16 of itself and 2.2e-6 of that largest magnitude. What is not finite stays so.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace braid::moe {

inline constexpr std::int64_t kFp8Group = 128;

// A multiple of 4.
std::size_t fp8_row_bytes(std::int64_t columns);
// `row` and the decoded row are float32 or bfloat16.
void encode_fp8(const std::byte* row, DType dtype, std::int64_t columns, std::byte* out);
void decode_fp8(const std::byte* in, std::int64_t columns, DType dtype, std::byte* row);

}  // namespace braid::moe
