// SPDX-License-Identifier: Apache-2.0
#include "transport/ucx/reads.h"

#include <gtest/gtest.h>

#include <random>

namespace braid::transport::ucx {
namespace {

TEST(UcxReads, ParcelsHoldEveryByteOnceAndInOrder) {
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    std::vector<fabric::Piece> pieces;
    std::vector<std::byte> memory(1);
    std::size_t total = 0;
    for (int i = 0; i < 30; ++i) {
      const std::size_t bytes = random() % 3 == 0 ? random() % 1000000 : random() % 5000;
      pieces.push_back({memory.data() + total, total * 2, bytes});
      total += bytes;
    }
    const auto whole = cut(pieces);
    std::size_t at = 0, piece = 0;
    for (const Parcel& parcel : parcels_of(whole)) {
      EXPECT_EQ(parcel.first, piece);
      std::size_t bytes = 0;
      for (; piece < parcel.first + parcel.count; ++piece) {
        EXPECT_EQ(whole[piece].local, memory.data() + at);
        EXPECT_GT(whole[piece].bytes, 0u);
        at += whole[piece].bytes;
        bytes += whole[piece].bytes;
      }
      EXPECT_EQ(parcel.bytes, bytes);
      EXPECT_LE(parcel.bytes, std::size_t{512} << 10);
    }
    EXPECT_EQ(piece, whole.size());
    EXPECT_EQ(at, total);
  }
}

TEST(UcxReads, ARequestSurvivesItsPayloadAndWhatLiesOutsideIsRefused) {
  const std::vector<fabric::Piece> pieces = {{nullptr, 5, 10}, {nullptr, 90, 10}};
  const std::string payload = to_request(pieces);
  const auto bytes = std::as_bytes(std::span(payload));
  std::vector<fabric::Piece> read;
  ASSERT_TRUE(read_request(bytes, 100, read));
  ASSERT_EQ(read.size(), 2u);
  EXPECT_EQ(read[1].offset, 90u);
  EXPECT_EQ(read[1].bytes, 10u);
  read.clear();
  EXPECT_FALSE(read_request(bytes, 99, read));
  EXPECT_FALSE(read_request(bytes.first(bytes.size() - 1), 100, read));
  const std::vector<fabric::Piece> beyond = {{nullptr, SIZE_MAX, 2}};
  const std::string outside = to_request(beyond);
  EXPECT_FALSE(read_request(std::as_bytes(std::span(outside)), 100, read));
}

}  // namespace
}  // namespace braid::transport::ucx
