// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/exchange/layout.h"

#include <gtest/gtest.h>

#include <vector>

namespace braid::cuda {
namespace {

ops::Exchange::Options options(std::int64_t tokens, std::int64_t hidden) {
  ops::Exchange::Options o;
  o.ranks = 3;
  o.top_k = 5;
  o.slots = 7;
  o.hidden = hidden;
  o.tokens = o.staging_tokens = tokens;
  return o;
}

TEST(ExchangeLayout, ChunksCoverAllTokensAndFitTheFlags) {
  for (const std::int64_t tokens : {0, 1, 2, 127, 511, 512, 513, 1023, 1024, 1025, 4096, 5000, 65536}) {
    EXPECT_LE(chunks_of(tokens), kChunks) << tokens;
    EXPECT_GE(chunks_of(tokens) * chunk_tokens(tokens), tokens);
    EXPECT_LT((chunks_of(tokens) - 1) * chunk_tokens(tokens), std::max<std::int64_t>(tokens, 1)) << "the last chunk is not empty";
  }
}

TEST(ExchangeLayout, PartsFollowEachOtherAndAreAligned) {
  for (const std::int64_t hidden : {1, 8, 130, 2880, 7168}) {
    const ExchangeLayout l(options(33, hidden));
    const std::vector<std::int64_t> window{l.ticket_flags, l.row_flags, l.return_flags, l.told, l.slots, l.weights, l.rows, l.returns, l.window_bytes};
    const std::vector<std::int64_t> own{l.state, l.offsets, l.counts, l.position, l.row_token, l.grouped, l.own_bytes};
    for (const auto& parts : {window, own}) {
      for (std::size_t i = 0; i + 1 < parts.size(); ++i) EXPECT_LE(parts[i], parts[i + 1]);
      for (const std::int64_t at : parts) EXPECT_EQ(at % 256, 0);
    }
    EXPECT_GE(l.slots - l.told, 3 * std::min<std::int64_t>(33 * 5, kFewChoices) * 16);
    EXPECT_GE(l.returns - l.rows, 3 * 33 * hidden * 2);
    EXPECT_GE(l.window_bytes - l.returns, 2 * 33 * hidden * 4);
  }
}

TEST(ExchangeLayout, Fp8RecordsHaveRoomForScalesAndGroupedRowsForEveryResult) {
  auto o = options(33, 300);
  o.fp8 = true;
  o.output = ops::Exchange::Output::kGroupedFp8;
  const ExchangeLayout l(o);
  EXPECT_GE(l.codes_bytes, 300);
  EXPECT_GE(l.record_bytes, l.codes_bytes + 3 * 4);
  EXPECT_EQ(l.grouped_rows, 3 * 33 * 5);
  o.pitch = 99;
  EXPECT_EQ(ExchangeLayout(o).grouped_rows, 99 * 7);
}

TEST(ExchangeLayout, PeersAreCountedWithoutTheHomeItself) {
  EXPECT_EQ(peer_index(0, 1), 0);
  EXPECT_EQ(peer_index(2, 1), 1);
  EXPECT_EQ(peer_index(1, 2), 1);
}

}  // namespace
}  // namespace braid::cuda
