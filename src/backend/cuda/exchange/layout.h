// SPDX-License-Identifier: Apache-2.0
// The memory of an exchange (ops/exchange.h), in bytes. A window, which peers write:
//
//   ticket_flags  u64 [ranks][kPieces]     epoch << 32 | tokens of that rank: a piece of its tickets is here (few choices: only
//                                          the first, and no ticket need be)
//   row_flags     u32 [ranks][kChunks]     epoch: that chunk of its rows is here
//   return_flags  u32 [ranks][kChunks]     epoch: the results of the own chunk are here
//   told          u64 [ranks][told_each][2]  few choices of a rank: epoch << 32 | slot, epoch << 32 | weight
//   slots         i32 [ranks][tickets]     for every choice of every token, counted over all ranks
//   weights       f32 [ranks][tickets]
//   rows          records of [ranks - 1][tokens], then [staging] of the own rank
//   returns       [ranks - 1][tokens] rows, or [tokens][top_k] with row_per_choice
//
// and what the rank keeps for itself:
//
//   state     State
//   offsets   i32 [slots + 1]
//   counts    i32 [slots]
//   position  i32 [ranks][tickets]   row of the result of that choice, -1: another rank's
//   row_token i32 [ranks * tokens * top_k]
//   grouped   rows for the experts, and their scales
//
// Tokens travel in chunks, each announced by a flag when all of it has been written. How many tokens a chunk
// has follows from how many the rank sends, so receivers know it too.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/exchange.h"

namespace braid::cuda {

inline constexpr int kPieces = 128;
inline constexpr int kChunks = 512;
// So few choices of a rank are told with their epoch beside each, so that no flag waits until they have been written. The
// destination puts them where the many would be.
inline constexpr std::int64_t kFewChoices = 2048;

// Counters of the kernels, between which they persist.
struct ExchangeState {
  std::uint32_t epoch = 0;  // journeys that are over
  std::uint32_t done = 0;   // blocks of the kernel at hand
  std::uint32_t sorted = 0; // epoch of the sort
  std::uint32_t raised = 0; // a wait was given up
  std::uint32_t taken = 0;  // pieces of work
  std::int32_t arrived[ops::Exchange::kMostRanks] = {};  // tokens of each rank
};

struct ExchangeLayout {
  ExchangeLayout() = default;
  explicit ExchangeLayout(const ops::Exchange::Options& options);

  // Window.
  std::int64_t ticket_flags, row_flags, return_flags, told, slots, weights, rows, returns, window_bytes;
  std::int64_t tickets;       // room for those of one rank
  std::int64_t told_each;     // the same where they are few
  std::int64_t record_bytes;  // from one row to the next
  std::int64_t codes_bytes;   // fp8: where a record's scales begin
  std::int64_t return_bytes;
  // Own.
  std::int64_t state, offsets, counts, position, row_token, grouped, grouped_scales, own_bytes;
  std::int64_t grouped_bytes;  // from one row to the next
  std::int64_t grouped_rows, scale_stride;
};

// Tokens of one chunk, and chunks of so many tokens.
constexpr std::int64_t chunk_tokens(std::int64_t tokens) { return tokens <= kChunks ? 1 : (tokens + kChunks - 1) / kChunks; }
constexpr std::int64_t chunks_of(std::int64_t tokens) { return (tokens + chunk_tokens(tokens) - 1) / chunk_tokens(tokens); }

// Where `rank` is among the peers of `home`.
constexpr int peer_index(int rank, int home) { return rank < home ? rank : rank - 1; }

}  // namespace braid::cuda
