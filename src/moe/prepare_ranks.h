// SPDX-License-Identifier: Apache-2.0
// PrepareFinalize across ranks, over windows of memory that peers write (fabric/group.h).
//
// Every rank owns one window. Each source rank has `buffer_tokens` fixed slots in it, so that a row
// goes straight to its place and nothing is negotiated; one copy travels per token and destination
// rank, however many of the token's experts live there:
//
//   rows     [ranks][buffer_tokens]  the token's activations, `row_bytes` apart
//   tickets  [ranks][buffer_tokens]  Ticket: which local experts, their weights, where results go
//   returns  [buffer_tokens * returns_per_token] float32 rows
//
// Word s of the window tells the dispatch of rank s as (epoch << 20 | rows); word ranks + s its
// returns. A destination sums its experts' results of a token with their weights and returns one
// row a token; the source adds these in the order of ranks. `deterministic`: it returns one row per
// choice, and the source sums all in the order of choices, as a single rank does, bit for bit.
// A slot is free again when its rank has signalled the returns of the layer before, which every rank
// waits for in collect(), so one set of buffers serves all layers.
//
// `everywhere` (allgather_reducescatter): every token goes to every rank, and each returns a row for
// it. More bytes, but no dependence on the routing.
#pragma once

#include <memory>
#include <vector>

#include "fabric/group.h"
#include "moe/prepare.h"
#include "ops/kernel.h"
#include "ops/routing.h"

namespace braid::moe {

inline constexpr int kMaxTopK = 32;

struct RanksOptions {
  int ranks = 1;
  int top_k = 0;
  std::int64_t hidden = 0;
  DType x = DType::kBF16;
  std::int64_t buffer_tokens = 0;  // most tokens of one send()
  bool everywhere = false;
  bool deterministic = false;
};

// Offsets and sizes of the window, in bytes.
struct RanksLayout {
  explicit RanksLayout(const RanksOptions& options);
  std::size_t row_bytes, rows, tickets, returns, total;
  std::int64_t returns_per_token;
};

// What comes with a row.
struct Ticket {
  std::int32_t first_return = 0;  // row of the source's returns; with `deterministic` that of choice 0
  std::int32_t choices = 0;
  struct Choice {
    std::int16_t slot = 0;   // local to the destination
    std::int16_t index = 0;  // j of the token's choices
    float weight = 0;
  } choice[kMaxTopK];
  std::size_t bytes() const { return offsetof(Ticket, choice) + static_cast<std::size_t>(choices) * sizeof(Choice); }
};

class PrepareRanks final : public PrepareFinalize {
 public:
  // `window` has at least RanksLayout(options).total bytes; `combine` and `stream` outlive it.
  PrepareRanks(const RanksOptions& options, std::unique_ptr<fabric::Window> window,
               const ops::Kernel<ops::Combine>* combine, Stream& stream);

  std::string_view name() const override { return options_.everywhere ? "allgather_reducescatter" : "low_latency"; }
  std::int64_t max_tokens() const override { return options_.buffer_tokens; }
  bool local() const override { return false; }
  Traffic traffic() const override { return traffic_; }
  Status send(const Activations& x, const Routing& routing, int layer) override;
  Result<Dispatched> receive() override;
  Status send_back(Matrix<const float> results) override;
  Status collect(Matrix<float> hidden) override;

 private:
  // What one source rank sent: which results are summed for which row of its returns.
  struct Arrived {
    std::int32_t rows = 0;
    std::vector<std::int32_t> homes;    // [returned rows] row of the source's returns
    std::vector<std::int32_t> starts;   // [returned rows + 1] into the entries
    std::vector<std::int32_t> results;  // [entries] row of the results
    std::vector<float> weights;         // [entries]
  };

  void write_tickets(std::int64_t token);
  Status put_row(int to, const std::byte* row, const Ticket& ticket);
  Status read_tickets();
  Status check(int source, const Ticket& ticket) const;
  void place(Arrived& from, std::int32_t x_row, const Ticket& ticket);
  Status return_rows(int to, const Matrix<const float>& results);
  const Ticket& ticket(int source, std::int64_t row) const;
  std::int64_t slot_of(int source, std::int64_t row) const { return source * options_.buffer_tokens + row; }

  const RanksOptions options_;
  const RanksLayout layout_;
  const std::unique_ptr<fabric::Window> window_;
  const ops::Kernel<ops::Combine>* const combine_;
  Stream& stream_;
  std::uint64_t epoch_ = 0;  // counts layers and chunks
  int layer_ = 0;
  Traffic traffic_;
  Routing routing_;
  int local_slots_ = 0;
  std::vector<std::int32_t> sent_;         // [ranks] rows
  std::vector<int> to_;                    // ranks that get the token at hand, ascending
  std::vector<Ticket> tickets_;            // one for each of to_
  std::vector<Arrived> arrived_;           // [ranks]
  std::vector<std::int32_t> offsets_;      // [local slots + 1]
  std::vector<std::int32_t> cursor_;       // [local slots]
  std::vector<std::int32_t> row_token_;    // [rows]
  std::vector<std::int32_t> home_starts_;  // [tokens + 1] into home_rows_
  std::vector<std::int32_t> home_rows_;    // rows of the own returns that a token sums
  std::vector<float> ones_;
  Buffer staging_;  // returns to ranks that no store reaches
};

}  // namespace braid::moe
