// SPDX-License-Identifier: Apache-2.0
// PrepareFinalize across ranks, over windows of memory that peers write (fabric/group.h).
//
// Every rank owns one window:
//
//   rows     [(ranks - 1) * buffer_tokens]  records of the others' tokens
//   own      [staging_tokens]               the own tokens, where the model may put them at once
//   tickets  [(ranks - 1) * buffer_tokens]  Ticket, of top_k choices each
//   counts   [ranks][ranks]                 packed: copies from each rank to each
//   returns  [buffer_tokens * returns_per_token] rows of results
//
// One copy travels per token and destination rank, however many of its experts live there. A
// destination sums its experts' results of a token with their weights and returns one row a token;
// the source adds these in the order of ranks, after the results of its own experts.
// `deterministic`: a destination returns one float32 row per choice, and the source sums all in the
// order of choices, as a single rank does, bit for bit.
//
// Backends are four ways to fill in the rest:
//   low_latency    each source has buffer_tokens fixed slots: a row goes straight to its place and
//                  nothing is negotiated.
//   high_throughput  counts first; then rows and results are packed, so that where no store reaches
//                  a rank they go as one message each way.
//   flexible       as low_latency, and what has arrived is spread into padded slabs, one per local
//                  expert: shapes that do not depend on the routing. The slabs' size bounds a chunk.
//   allgather_reducescatter  as low_latency, but every token goes to every rank, and each returns a
//                  row for it. More bytes, but no dependence on the routing.
//
// Word s of the window tells the dispatch of rank s as (epoch << 20 | rows), word ranks + s its
// returns, word 2 * ranks + s its counts. Memory is free again when its rank has signalled the
// returns of the layer before, which every rank waits for in collect(), so one window serves all layers.
#pragma once

#include <memory>
#include <vector>

#include "fabric/group.h"
#include "moe/all2all/incoming.h"
#include "moe/all2all/outgoing.h"
#include "moe/prepare.h"
#include "ops/kernel.h"
#include "ops/routing.h"

namespace braid::moe {

struct RanksOptions {
  int ranks = 1;
  int top_k = 0;
  std::int64_t hidden = 0;
  DType x = DType::kBF16;
  std::int64_t buffer_tokens = 0;   // most tokens of one send()
  std::int64_t staging_tokens = 0;  // at least as many
  bool everywhere = false;
  bool packed = false;
  bool padded = false;
  bool deterministic = false;
  bool fp8 = false;                  // rows travel as e4m3 with a scale for 128 columns
  DType returns = DType::kF32;       // kF32 or kBF16
  int local_slots = 0;               // padded
};

// Offsets and sizes of the window, in bytes.
struct RanksLayout {
  explicit RanksLayout(const RanksOptions& options);
  std::size_t row_bytes;     // of a row of x, own and (without fp8) travelled
  std::size_t record_bytes;  // between travelled rows
  std::size_t ticket_bytes;
  std::size_t rows, own, tickets, counts, returns, total;
  std::int64_t peer_rows, returns_per_token;
  std::int32_t slab_rows;     // 0: not padded
  std::size_t decoded, slabs;  // bytes besides the window
};

class PrepareRanks final : public PrepareFinalize {
 public:
  // `window` has at least RanksLayout(options).total bytes; `name` and `combine` and `stream` outlive it.
  PrepareRanks(std::string_view name, const RanksOptions& options, std::unique_ptr<fabric::Window> window,
               const ops::Kernel<ops::Combine>* combine, Stream& stream);

  std::string_view name() const override { return name_; }
  Format format() const override { return options_.padded ? Format::kPadded : Format::kRagged; }
  std::int64_t max_tokens() const override { return options_.buffer_tokens; }
  bool local() const override { return false; }
  Activations staging() const override;
  const Traffic& traffic() const override { return traffic_; }
  Status send(const Activations& x, const Routing& routing, int layer) override;
  Result<Dispatched> receive() override;
  Status send_back(Matrix<const float> results) override;
  Status collect(Matrix<float> hidden) override;

 private:
  int rank() const { return window_->rank(); }
  std::byte* local(std::size_t offset) const { return window_->local().data() + offset; }
  Activations rows_at(std::byte* data, std::int64_t rows) const;

  void take_own(const Activations& x);
  std::span<const std::byte> record_of(std::int64_t token, std::byte* space) const;
  Status put_copies();
  Status put_packed(int to);
  Status signal_rows(int to);
  Status post_counts();
  Status await_counts();
  std::int32_t counted(int from, int to) const;
  Status await(int peer, int word, const char* phase);
  Incoming::Arrived arrived(int source, std::int32_t copy) const;
  Activations rows_for_experts();
  Activations fill_slabs(const Activations& x);
  Status return_rows(int to);
  Status put_returns(int to, std::span<const std::int32_t> homes);
  std::int64_t add_own(std::int64_t nth, std::int64_t end, Matrix<float> hidden);
  void add_returns(std::int64_t begin, std::int64_t end, Matrix<float> hidden);

  const std::string_view name_;
  const RanksOptions options_;
  const std::unique_ptr<fabric::Window> window_;
  const RanksLayout layout_;
  const ops::Kernel<ops::Combine>* const combine_;
  Stream& stream_;
  std::uint64_t epoch_ = 0;  // counts layers and chunks
  int layer_ = 0;
  Traffic traffic_;
  Activations x_;
  std::int64_t own_first_ = 0;  // where x lies among the own rows
  Routing routing_;
  Matrix<const float> results_;
  Outgoing outgoing_;
  Incoming incoming_;
  std::vector<const Outgoing::Copy*> own_copies_;
  std::vector<std::int32_t> first_place_;    // [ranks] where the own copies begin in each window
  std::vector<std::int32_t> first_arrival_;  // [ranks] where the copies of each begin in the own window
  std::vector<float> ones_;
  bool direct_ = true;  // stores reach every peer
  Buffer record_;       // fp8: one record
  Buffer staging_;      // messages to ranks that no store reaches
  Buffer decoded_;      // fp8: [peer_rows + buffer_tokens] rows of x
  Buffer slabs_;        // padded: [local_slots * slab_rows] rows of x
};

}  // namespace braid::moe
