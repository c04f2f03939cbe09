// SPDX-License-Identifier: Apache-2.0
// Where the keys or values of one kv head lie, position by position; where whole rows do in an FP8 cache.
#pragma once

#include <algorithm>

#include "ops/attention.h"

namespace braid::cpu {

class KeyRows {
 public:
  // `table` null: row `first_row` holds position `first`, and so on.
  KeyRows(const ops::Rows& rows,
          int kv_head,
          const std::int32_t* table,
          int block_size,
          std::int64_t first = 0,
          std::int64_t first_row = 0)
      : stride_(rows.row_stride * static_cast<std::int64_t>(size_of(rows.dtype))),
        base_(static_cast<const std::byte*>(rows.base) +
              (rows.dtype == DType::kF8E4M3 ? 0 : kv_head * rows.head_stride * static_cast<std::int64_t>(size_of(rows.dtype)))),
        table_(table),
        block_size_(block_size),
        contiguous_(first_row - first) {}

  // Addresses of positions [position, position + count).
  void gather(std::int64_t position, int count, const void** out) const {
    for (int i = 0; i < count;) {
      const std::int64_t p = position + i;
      std::int64_t row = contiguous_ + p;
      int run = count - i;
      if (table_) {
        const std::int64_t offset = p % block_size_;
        row = static_cast<std::int64_t>(table_[p / block_size_]) * block_size_ + offset;
        run = static_cast<int>(std::min<std::int64_t>(run, block_size_ - offset));
      }
      const std::byte* at = base_ + row * stride_;
      for (int end = i + run; i < end; ++i, at += stride_) out[i] = at;
    }
  }

 private:
  std::int64_t stride_;
  const std::byte* base_;
  const std::int32_t* table_;
  int block_size_;
  std::int64_t contiguous_;
};

}  // namespace braid::cpu
