// SPDX-License-Identifier: Apache-2.0
#include "sample/choose.h"

#include <cmath>
#include <limits>

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

std::int32_t draw_from_candidates(std::span<const Candidate> kept, double mass, double draw) {
  double left = draw * mass;
  for (const Candidate& candidate : kept) {
    left -= candidate.value;
    if (left < 0) return candidate.token;
  }
  return kept.back().token;
}

// Cuts the candidates, which descend, after the one with which they hold `wanted`; returns the mass
// kept, or a negative number when they do not hold that much.
double keep_mass(std::vector<Candidate>& candidates, double wanted) {
  double mass = 0;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    mass += candidates[i].value;
    if (mass >= wanted) {
      candidates.resize(i + 1);
      return mass;
    }
  }
  return -1;
}

double mass_of(std::span<const Candidate> candidates) {
  double mass = 0;
  for (const Candidate& candidate : candidates) mass += candidate.value;
  return mass;
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
  if (restriction.min_p > 0) {
    for (float& weight : weights) weight = weight >= restriction.min_p ? weight : 0.0f;
  }
  const auto top_k = static_cast<std::size_t>(restriction.top_k);
  const bool by_rank = top_k > 0 && top_k < logits.size();
  if (!by_rank && restriction.top_p >= 1) return draw_from_all(weights, draw, scratch);

  auto& candidates = scratch.candidates;
  if (by_rank) {
    top_values(weights, top_k, candidates, scratch.floats);
    double mass = mass_of(candidates);
    if (restriction.top_p < 1) mass = keep_mass(candidates, restriction.top_p * mass);
    return draw_from_candidates(candidates, mass < 0 ? mass_of(candidates) : mass, draw);
  }
  const double wanted = restriction.top_p * sum_chunks(weights, scratch.sums);
  for (std::size_t count = 64;; count *= 16) {
    top_values(weights, count, candidates, scratch.floats);
    const bool all = count >= weights.size();
    double mass = keep_mass(candidates, wanted);
    if (mass < 0 && all) mass = mass_of(candidates);
    if (mass >= 0) return draw_from_candidates(candidates, mass, draw);
  }
}

}  // namespace braid::sample
