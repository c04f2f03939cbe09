// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include "ops/reference.h"
#include "ops/reference/element.h"

namespace braid::ops::reference {
namespace {

using Values = std::vector<float>;

// Indices of the `count` largest, ties to the lower index, in descending order.
std::vector<int> largest(const Values& values, int count) {
  std::vector<int> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return values[a] > values[b]; });
  order.resize(static_cast<std::size_t>(count));
  return order;
}

Values score(const float* logits, const Route::Problem& p) {
  Values scores(logits, logits + p.experts);
  if (p.scoring == Scoring::kSigmoid) {
    for (auto& s : scores) s = 1.0f / (1.0f + std::exp(-s));
    return scores;
  }
  const float top = *std::max_element(scores.begin(), scores.end());
  float sum = 0;
  for (auto& s : scores) sum += s = std::exp(s - top);
  for (auto& s : scores) s /= sum;
  return scores;
}

// Sets the choice of every expert outside the best groups to minus infinity.
void keep_best_groups(Values& choice, const Route::Problem& p) {
  const int size = p.experts / p.groups;
  Values group(static_cast<std::size_t>(p.groups));
  for (int g = 0; g < p.groups; ++g) {
    Values members(choice.begin() + g * size, choice.begin() + (g + 1) * size);
    std::stable_sort(members.begin(), members.end(), std::greater<>());
    const bool two = p.group_score == GroupScore::kSumOfTopTwo && size > 1;
    group[g] = two ? members[0] + members[1] : members[0];
  }
  const auto kept = largest(group, p.topk_groups);
  for (int e = 0; e < p.experts; ++e) {
    if (std::find(kept.begin(), kept.end(), e / size) == kept.end()) {
      choice[e] = -std::numeric_limits<float>::infinity();
    }
  }
}

void route(const Route::Args& a, Stream&) {
  const Route::Problem& p = *a.problem;
  for (std::int64_t t = 0; t < a.logits.rows; ++t) {
    const Values scores = score(a.logits.row(t), p);
    Values choice = scores;
    for (int e = 0; a.bias && e < p.experts; ++e) choice[e] += a.bias[e];
    if (p.groups > 1) keep_best_groups(choice, p);
    const auto chosen = largest(choice, p.top_k);
    float sum = 0;
    for (int e : chosen) sum += scores[e];
    const float factor = p.normalise ? p.scale / (sum + 1e-20f) : p.scale;
    for (int j = 0; j < p.top_k; ++j) {
      a.ids[t * p.top_k + j] = chosen[j];
      a.weights[t * p.top_k + j] = scores[chosen[j]] * factor;
    }
    if (p.shared_gate) a.shared_weights[t] = 1.0f / (1.0f + std::exp(-a.logits.row(t)[p.experts]));
  }
}

void arrange(const Arrange::Args& a, Stream&) {
  const std::int64_t pairs = a.tokens * a.top_k;
  std::fill(a.offsets, a.offsets + a.experts + 1, 0);
  for (std::int64_t i = 0; i < pairs; ++i) ++a.offsets[a.ids[i] + 1];
  for (int e = 0; e < a.experts; ++e) a.offsets[e + 1] += a.offsets[e];
  std::vector<std::int32_t> next(a.offsets, a.offsets + a.experts);
  for (std::int64_t i = 0; i < pairs; ++i) {
    const std::int64_t token = i / a.top_k, slot = token * a.per_token() + i % a.top_k;
    a.slots[slot] = next[static_cast<std::size_t>(a.ids[i])]++;
    a.slot_weights[slot] = a.weights[i];
    a.row_token[a.slots[slot]] = static_cast<std::int32_t>(token);
  }
  if (!a.shared) return;
  a.offsets[a.experts + 1] = static_cast<std::int32_t>(pairs + a.tokens);
  for (std::int64_t t = 0; t < a.tokens; ++t) {
    const std::int64_t slot = t * a.per_token() + a.top_k;
    a.slots[slot] = static_cast<std::int32_t>(pairs + t);
    a.slot_weights[slot] = a.shared_weights ? a.shared_weights[t] : 1.0f;
    a.row_token[pairs + t] = static_cast<std::int32_t>(t);
  }
}

void combine(const Combine::Args& a, Stream&) {
  for (std::int64_t t = 0; t < a.results(); ++t) {
    std::byte* const out = a.to(t);
    for (std::int64_t c = 0; c < a.out.cols; ++c) {
      float sum = a.accumulate ? load(out, a.out.dtype, c) : 0.0f;
      for (std::int64_t j = a.first(t); j < a.first(t) + a.entries(t); ++j) {
        sum += a.weights[j] * load(a.rows.row(a.slots[j]), a.rows.dtype, c);
      }
      store(out, a.out.dtype, c, sum);
    }
  }
}

}  // namespace

extern const Kernel<Route> kRoute{"reference", 0, always<Route::Problem>, route, nullptr};
extern const Kernel<Arrange> kArrange{"reference", 0, always<Arrange::Problem>, arrange, nullptr};
extern const Kernel<Combine> kCombine{"reference", 0, always<Combine::Problem>, combine, nullptr};

}  // namespace braid::ops::reference
