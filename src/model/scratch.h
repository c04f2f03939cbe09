// SPDX-License-Identifier: Apache-2.0
// Attention scratch that follows the longest context met so far: sized for the longest possible one
// it would be gigabytes for models that take 100,000 tokens.
#pragma once

#include <algorithm>
#include <span>

#include "ops/attention.h"

namespace braid::model {

// Makes `buffer` large enough to decode `rows`; with room to spare, so that growth is rare.
inline void fit_decode(Buffer& buffer, const ops::AttentionShape& shape,
                       const Mirror<ops::AttentionDecode::Row>& rows, Stream& stream) {
  std::int64_t longest = 1;
  for (const auto& row : rows) longest = std::max<std::int64_t>(longest, row.context);
  const auto count = static_cast<std::int64_t>(rows.size());
  const std::size_t bytes = ops::AttentionDecode::scratch_bytes(shape, count, longest);
  if (buffer.size() < bytes) buffer = stream.allocate(bytes + bytes / 2);
}

}  // namespace braid::model
