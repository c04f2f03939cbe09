// SPDX-License-Identifier: Apache-2.0
// How a replica's latencies grow with its load, learned from what is observed.
//
// A replica that decodes takes, for every token of every sequence, a step. Its length is
//     itl = base + prompt_cost * (prompt tokens a step) + decode_cost * (sequences)
// and with Little's law  itl = base / (1 - load),  load = prompt_cost * prompt rate + decode_cost * output rate.
// The three costs are fitted to the intervals seen so far, newer ones counting more. A replica that only prefills
// has load = prompt_cost * prompt rate, which its busy share tells directly.
// Times to first token grow as scale / (1 - load).
#pragma once

#include <array>

#include "autoscale/observation.h"

namespace braid::autoscale {

class ServiceCurve {
 public:
  explicit ServiceCurve(bool decodes) : decodes_(decodes) {}

  // What an interval showed. Intervals without traffic teach nothing.
  void learn(const RoleObservation& seen);
  bool known() const { return samples_ >= kFewest; }

  double prompt_cost() const { return cost_[1]; }  // seconds of a replica for a token
  double decode_cost() const { return cost_[2]; }
  // Of one replica at these rates, in tokens a second.
  double load(double prompt_rate, double output_rate) const { return cost_[1] * prompt_rate + cost_[2] * output_rate; }
  double token_time(double load) const;   // infinite from a load of 1 on
  double first_token(double load) const;  // p90
  // The largest load that keeps both objectives, in seconds, within [kLeastLoad, kMostLoad].
  double most_load(double first_token, double token_time) const;

  static constexpr double kLeastLoad = 0.3, kMostLoad = 0.85;
  static constexpr int kFewest = 3;

 private:
  void learn_steps(double token_time, double prompts_in_step, double sequences);

  const bool decodes_;
  int samples_ = 0;
  std::array<double, 3> cost_{};                  // base, prompt, decode
  std::array<std::array<double, 4>, 3> normal_{}; // of weighted least squares, right side last
  double first_token_scale_ = 0;
};

}  // namespace braid::autoscale
