// SPDX-License-Identifier: Apache-2.0
#include "sample/choose.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

namespace braid::sample {
namespace {

// Token at share `draw` of the weights' mass, in order of tokens.
std::int32_t draw_from_all(std::span<const float> weights, double draw, Scratch& scratch) {
  const double total = sum_chunks(weights, scratch.sums);
  double left = draw * total;
  std::size_t chunk = 0;
  while (chunk + 1 < scratch.sums.size() && left >= scratch.sums[chunk]) {
    left -= scratch.sums[chunk++];
  }
  for (std::size_t i = chunk * kSumChunk; i < weights.size(); ++i) {
    if (weights[i] <= 0) continue;
    left -= weights[i];
    if (left < 0) return static_cast<std::int32_t>(i);
  }
  // Rounding carried the draw past the end.
  std::size_t last = weights.size() - 1;
  while (weights[last] <= 0) --last;
  return static_cast<std::int32_t>(last);
}

double mass_of(std::span<const Candidate> candidates) {
  double mass = 0;
  for (const Candidate& candidate : candidates) mass += candidate.value;
  return mass;
}

// Where the fewest likeliest candidates that hold `wanted` end, which is found by halving: the
// likelier half holds it, or belongs to it. Candidates are reordered so that those come first.
std::size_t holders_of(std::span<Candidate> candidates, double wanted) {
  std::size_t first = 0;
  std::size_t last = candidates.size();
  while (last - first > 1) {
    const std::size_t middle = first + (last - first) / 2;
    const auto at = [&](std::size_t i) { return candidates.begin() + static_cast<std::ptrdiff_t>(i); };
    std::nth_element(at(first), at(middle), at(last), likelier);
    const double mass = mass_of(candidates.subspan(first, middle - first));
    if (mass >= wanted) {
      last = middle;
    } else {
      wanted -= mass;
      first = middle;
    }
  }
  return last;
}

// Zeroes the weights of all tokens that are not among the first `count` candidates, of which the
// last is the least likely.
void keep_first(std::span<Candidate> candidates, std::size_t count, std::span<float> weights) {
  zero_below(weights, candidates[count - 1].value);
  for (const Candidate& candidate : candidates.subspan(count)) {
    weights[static_cast<std::size_t>(candidate.token)] = 0;
  }
}

// Leaves the tokens that stay in scratch.candidates.
void restrict_to_top_k(std::span<float> weights, std::size_t k, Scratch& scratch) {
  auto& candidates = scratch.candidates;
  gather_top(weights, k, 0.0f, candidates, scratch.floats);
  if (candidates.size() < k) return;  // fewer are possible at all
  const auto kth = candidates.begin() + static_cast<std::ptrdiff_t>(k - 1);
  std::nth_element(candidates.begin(), kth, candidates.end(), likelier);
  const float least = kth->value;
  std::erase_if(candidates, [least](const Candidate& c) { return c.value < least; });
  zero_below(weights, least);
}

// Top-p among candidates that are all that is possible.
void restrict_candidates_to_top_p(std::span<float> weights, double p, Scratch& scratch) {
  const double wanted = p * mass_of(scratch.candidates);
  keep_first(scratch.candidates, holders_of(scratch.candidates, wanted), weights);
}

// Weights from 0 to 1 by order of magnitude: the exponent and three bits of the fraction.
constexpr std::size_t kMagnitudes = 1024;
std::size_t magnitude(float weight) { return std::bit_cast<std::uint32_t>(weight) >> 20; }

void restrict_to_top_p(std::span<float> weights, double p, Scratch& scratch) {
  auto& mass = scratch.sums;
  mass.assign(kMagnitudes, 0);
  for (const float weight : weights) mass[magnitude(weight)] += weight;
  double wanted = p * std::accumulate(mass.begin(), mass.end(), 0.0);
  std::size_t last = kMagnitudes - 1;
  while (last > 0 && mass[last] < wanted) wanted -= mass[last--];

  auto& candidates = scratch.candidates;
  candidates.clear();
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (magnitude(weights[i]) == last && weights[i] > 0) {
      candidates.push_back({static_cast<std::int32_t>(i), weights[i]});
    }
  }
  if (candidates.empty()) return;  // rounding: all are needed
  keep_first(candidates, holders_of(candidates, wanted), weights);
}

}  // namespace

std::int32_t choose(std::span<const float> logits,
                    const Restriction& restriction,
                    double draw,
                    Scratch& scratch) {
  const float max = max_of(logits);
  if (!std::isfinite(max)) return -1;
  scratch.weights.resize(logits.size());
  const std::span<float> weights = scratch.weights;
  exp_row(logits, max, 1.0f / restriction.temperature, weights);
  if (restriction.min_p > 0) zero_below(weights, restriction.min_p);
  const auto top_k = static_cast<std::size_t>(restriction.top_k);
  const bool by_rank = restriction.top_k > 0 && top_k < weights.size();
  if (by_rank) restrict_to_top_k(weights, top_k, scratch);
  if (restriction.top_p < 1) {
    const auto restrict_by_mass = by_rank ? restrict_candidates_to_top_p : restrict_to_top_p;
    restrict_by_mass(weights, restriction.top_p, scratch);
  }
  return draw_from_all(weights, draw, scratch);
}

}  // namespace braid::sample
