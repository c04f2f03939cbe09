// SPDX-License-Identifier: Apache-2.0
// What a rank sends: one copy of a token for every rank that holds an expert of it, and the rows of
// results that will come back. Pure bookkeeping; nothing is moved here.
#pragma once

#include <span>
#include <vector>

#include "moe/all2all/ticket.h"
#include "moe/prepare.h"

namespace braid::moe {

class Outgoing {
 public:
  struct Options {
    int ranks = 1;
    int rank = 0;
    int top_k = 0;
    bool everywhere = false;    // every token goes to every rank
    bool row_per_choice = false;  // a result for each choice comes back, not one for each copy
    // Results of one destination get consecutive rows; otherwise those of one token do.
    bool by_destination = false;
  };
  struct Copy {
    std::int32_t token = 0;
    std::int32_t to = 0;
    std::int32_t place = 0;  // among the copies for that rank
    Ticket ticket;
  };

  explicit Outgoing(const Options& options);

  void plan(const Routing& routing);

  // By token, then by rank; those for the own rank too.
  std::span<const Copy> copies() const { return copies_; }
  // [ranks]
  std::span<const std::int32_t> counts() const { return counts_; }
  // Rows of returns that token t sums, [starts[t], starts[t + 1]), in the order of ranks or, with
  // row_per_choice, of choices. The own rank's sums are not among them unless row_per_choice.
  std::span<const std::int32_t> home_rows() const { return home_rows_; }
  std::span<const std::int32_t> home_starts() const { return home_starts_; }
  // Most rows that come back for one token.
  std::int64_t returns_per_token() const { return returns_per_token_; }

 private:
  void copy_token(const Routing& routing, std::int64_t token);
  void assign_homes(std::int64_t tokens);

  const Options options_;
  const std::int64_t returns_per_token_;
  std::vector<Copy> copies_;
  std::vector<std::int32_t> counts_;
  std::vector<std::int32_t> first_home_;  // [ranks], by_destination
  std::vector<std::int32_t> home_rows_;
  std::vector<std::int32_t> home_starts_;
};

}  // namespace braid::moe
