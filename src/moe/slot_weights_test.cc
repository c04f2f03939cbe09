// SPDX-License-Identifier: Apache-2.0
#include "moe/slot_weights.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace braid::moe {
namespace {

ops::PackedWeight weight(std::size_t data, std::size_t scales, int first) {
  ops::PackedWeight w{ops::WeightFormat::kF8, 3, 5, 1, Buffer(data), Buffer(scales)};
  for (std::size_t i = 0; i < data; ++i) w.data.data()[i] = static_cast<std::byte>(first + static_cast<int>(i));
  for (std::size_t i = 0; i < scales; ++i) w.scales.data()[i] = static_cast<std::byte>(first - static_cast<int>(i));
  return w;
}

std::vector<std::byte> bytes_of(const SlotRecord& record) {
  std::vector<std::byte> all;
  for (const auto piece : record.pieces()) all.insert(all.end(), piece.begin(), piece.end());
  return all;
}

TEST(SlotRecord, MakesTheSameWeightsElsewhereWhateverWasThere) {
  const ops::PackedMlp source{ops::WeightFormat::kF8, 7, 9, weight(40, 8, 1), weight(24, 0, 2), {1.5f, 7, 1}, Buffer(12)};
  source.bias.as<float>()[1] = 0.25f;
  const SlotRecord record(source);
  const auto bytes = bytes_of(record);
  EXPECT_EQ(bytes.size(), record.bytes());
  ops::PackedMlp empty, other{ops::WeightFormat::kBF16, 1, 1, weight(40, 16, 3), weight(3, 3, 4)};
  for (ops::PackedMlp* into : {&empty, &other}) {
    ASSERT_TRUE(SlotRecord::read(bytes, *into).ok());
    EXPECT_EQ(into->format, source.format);
    EXPECT_EQ(into->gate_up.n, 3);
    EXPECT_EQ(into->glu, source.glu);
    EXPECT_EQ(into->bias.as<float>()[1], 0.25f);
    EXPECT_EQ(bytes_of(SlotRecord(*into)), bytes);
  }
}

TEST(SlotRecord, RefusesBytesThatAreNoRecord) {
  const ops::PackedMlp source{ops::WeightFormat::kF8, 7, 9, weight(40, 8, 1), weight(24, 0, 2)};
  auto bytes = bytes_of(SlotRecord(source));
  ops::PackedMlp into;
  EXPECT_FALSE(SlotRecord::read(std::span(bytes).first(10), into).ok());
  EXPECT_FALSE(SlotRecord::read(std::span(bytes).first(bytes.size() - 1), into).ok());
  std::memset(bytes.data(), 0xff, bytes.size());
  EXPECT_FALSE(SlotRecord::read(bytes, into).ok());
}

}  // namespace
}  // namespace braid::moe
