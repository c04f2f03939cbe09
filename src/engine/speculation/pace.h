// SPDX-License-Identifier: Apache-2.0
// How many tokens to draft for each sequence: the number that promises the most tokens per second,
// from what passes cost by rows and from the share of drafts that were accepted lately. Under load
// that is none, as rows then cost as much as the steps they save.
// Thread rules: one thread.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "engine/speculation/costs.h"

namespace braid::engine {

class Pace {
 public:
  // At most `most` tokens. Without costs: always as many while no more than `largest_batch`
  // sequences run, and none beyond.
  Pace(int most, std::size_t largest_batch) : Pace(most, Costs{}, largest_batch) {}
  Pace(int most, Costs costs) : Pace(most, std::move(costs), 0) {}

  int most() const { return most_; }
  void learn(Costs costs) { costs_ = std::move(costs); }
  // For a step of so many sequences.
  int tokens(std::size_t sequences) const;
  // The same, and what was not tried for long comes to be tried again.
  int decide(std::size_t sequences);
  // Of `offered` drafts of one sequence the first `accepted` came true.
  void observe(int offered, int accepted);

  // "1-4: 2, 5-16: 1, 17-128: 0", as it would decide now.
  std::string describe(std::size_t largest_batch) const;

 private:
  Pace(int most, Costs costs, std::size_t largest_batch);
  double tokens_per_second(std::size_t sequences, int drafts) const;

  int most_;
  Costs costs_;
  std::size_t largest_batch_;
  std::vector<double> acceptance_;  // by position, of drafts whose predecessors were accepted
};

}  // namespace braid::engine
