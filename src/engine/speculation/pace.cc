// SPDX-License-Identifier: Apache-2.0
#include "engine/speculation/pace.h"

#include <algorithm>

namespace braid::engine {
namespace {

constexpr double kAssumed = 0.8;   // acceptance before anything was seen
constexpr double kLearning = 0.05;
constexpr double kForgetting = 0.001;
constexpr double kWorthwhile = 1.03;  // gain below which speculation is not worth its risk

}  // namespace

Pace::Pace(int most, Costs costs, std::size_t largest_batch)
    : most_(most),
      costs_(std::move(costs)),
      largest_batch_(largest_batch),
      acceptance_(static_cast<std::size_t>(most), kAssumed) {}

int Pace::tokens(std::size_t sequences) const {
  if (sequences == 0) return 0;
  if (costs_.forward.empty()) return sequences <= largest_batch_ ? most_ : 0;
  int best = 0;
  double best_rate = kWorthwhile * tokens_per_second(sequences, 0);
  for (int drafts = 1; drafts <= most_; ++drafts) {
    const double rate = tokens_per_second(sequences, drafts);
    if (rate <= best_rate) continue;
    best = drafts;
    best_rate = rate;
  }
  return best;
}

int Pace::decide(std::size_t sequences) {
  const int chosen = tokens(sequences);
  for (auto untried = static_cast<std::size_t>(chosen); untried < acceptance_.size(); ++untried) {
    acceptance_[untried] += kForgetting * (kAssumed - acceptance_[untried]);
  }
  return chosen;
}

void Pace::observe(int offered, int accepted) {
  for (int i = 0; i < std::min(offered, accepted + 1); ++i) {
    double& share = acceptance_[static_cast<std::size_t>(i)];
    share += kLearning * ((i < accepted ? 1.0 : 0.0) - share);
  }
}

double Pace::tokens_per_second(std::size_t sequences, int drafts) const {
  const auto s = static_cast<double>(sequences);
  double gained = 1, chance = 1;
  for (int i = 0; i < drafts; ++i) {
    chance *= acceptance_[static_cast<std::size_t>(i)];
    gained += chance;
  }
  double seconds = costs_.forward.at(s * (1 + drafts));
  if (drafts > 0) seconds += costs_.draft.at(s * gained) + (drafts - 1) * costs_.draft.at(s);
  return s * gained / std::max(seconds, 1e-9);
}

std::string Pace::describe(std::size_t largest_batch) const {
  std::string text;
  std::size_t first = 1;
  for (std::size_t s = 1; s <= largest_batch; ++s) {
    const int drafts = tokens(s);
    if (s < largest_batch && tokens(s + 1) == drafts) continue;
    text += (text.empty() ? "" : ", ") + std::to_string(first) + (first < s ? "-" + std::to_string(s) : "") + ": " +
            std::to_string(drafts);
    first = s + 1;
  }
  return text;
}

}  // namespace braid::engine
