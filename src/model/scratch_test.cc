// SPDX-License-Identifier: Apache-2.0
#include "model/scratch.h"

#include <gtest/gtest.h>

#include "ops/reference/fixture.h"

namespace braid::model {
namespace {

using Row = ops::AttentionDecode::Row;

TEST(DecodeScratch, HoldsWhatTheLongestRowNeedsAndStaysWhenItSuffices) {
  const ops::AttentionShape shape{4, 1, 40, 32, 1.0f};
  ops::reference::NoStream stream;
  Buffer buffer;
  const std::vector<Row> rows{{nullptr, 10}, {nullptr, 3000}};
  fit_decode(buffer, shape, rows, stream);
  EXPECT_GE(buffer.size(), ops::AttentionDecode::scratch_bytes(shape, 2, 3000));
  const std::byte* before = buffer.data();
  fit_decode(buffer, shape, std::span(rows).first(1), stream);
  EXPECT_EQ(buffer.data(), before);
  const std::vector<Row> more(9, Row{nullptr, 5000});
  fit_decode(buffer, shape, more, stream);
  EXPECT_GE(buffer.size(), ops::AttentionDecode::scratch_bytes(shape, 9, 5000));
}

}  // namespace
}  // namespace braid::model
