// SPDX-License-Identifier: Apache-2.0
// What has arrived at a rank: a counting sort of (row, local expert) pairs, and the way home of every
// result. Rows keep the order of ranks and tokens inside an expert.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "base/result.h"
#include "moe/all2all/ticket.h"

namespace braid::moe {

class Incoming {
 public:
  // The results that one rank gets back.
  struct Source {
    std::int32_t copies = 0;
    std::vector<std::int32_t> homes;    // [returned rows] row of the source's returns
    std::vector<std::int32_t> starts;   // [returned rows + 1] into results and weights
    std::vector<std::int32_t> results;  // [entries] row of the results
    std::vector<float> weights;         // [entries]
  };
  // A copy: where its row lies in the matrix that experts read, and its ticket.
  struct Arrived {
    std::int32_t row = 0;
    const Ticket* ticket = nullptr;
  };
  using Copies = std::function<Arrived(int source, std::int32_t copy)>;

  Incoming(int rank, int ranks, bool row_per_choice);

  // How many copies each source sent; set before sort().
  std::int32_t& copies(int source) { return sources_[static_cast<std::size_t>(source)].copies; }
  // `slab_rows`: 0, or the distance between the first results of two slots.
  // Errors: a ticket names experts that this rank does not hold.
  Status sort(const Copies& copies, int slots, int top_k, std::int32_t slab_rows, int layer);

  const Source& source(int rank) const { return sources_[static_cast<std::size_t>(rank)]; }
  std::span<const std::int32_t> offsets() const { return offsets_; }      // [slots + 1]
  std::span<const std::int32_t> row_token() const { return row_token_; }  // [pairs], by slot

 private:
  Status check(int source, const Ticket& ticket, int slots, int top_k, int layer) const;
  void place(Source& from, const Arrived& copy, std::int32_t slab_rows);

  const int rank_;
  const bool row_per_choice_;
  std::vector<Source> sources_;
  std::vector<std::int32_t> offsets_;
  std::vector<std::int32_t> cursor_;
  std::vector<std::int32_t> row_token_;
};

}  // namespace braid::moe
