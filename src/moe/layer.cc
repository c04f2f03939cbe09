// SPDX-License-Identifier: Apache-2.0
#include "moe/layer.h"

#include <algorithm>
#include <numeric>

#include "moe/prepare_local.h"

namespace braid::moe {

Workspace::Workspace(int experts, int top_k, bool shared, std::int64_t hidden, std::int64_t max_inter,
                     std::int64_t max_tokens)
    : prepare(std::make_unique<PrepareLocal>(experts, top_k, max_tokens)) {
  const auto tokens = static_cast<std::size_t>(max_tokens);
  const auto choices = static_cast<std::size_t>(top_k + (shared ? 1 : 0));
  logits.resize(tokens * static_cast<std::size_t>(experts));
  ids.resize(tokens * static_cast<std::size_t>(top_k));
  weights.resize(tokens * static_cast<std::size_t>(top_k));
  row_token.resize(tokens * choices);
  slots.resize(tokens * choices);
  slot_weights.resize(tokens * choices);
  groups.reserve(static_cast<std::size_t>(experts) + 1);
  const auto rows_all = static_cast<std::int64_t>(tokens * choices);
  rows = Buffer(static_cast<std::size_t>(rows_all * hidden) * sizeof(float));
  scratch = Buffer(ops::GroupedMlp::scratch_bytes(rows_all, max_inter));
}

// Appends the shared expert as a group of all tokens, and gives every choice its output row.
std::int64_t Layer::gather_groups(const Dispatched& dispatched, std::int64_t tokens, Workspace& w) const {
  const int top_k = parts_.routing.top_k;
  const bool shared = !parts_.shared.empty();
  const auto pairs = static_cast<std::int64_t>(dispatched.row_token.size());
  w.groups.clear();
  for (std::size_t e = 0; e < parts_.experts.size(); ++e) {
    const std::int32_t first = dispatched.offsets[e], end = dispatched.offsets[e + 1];
    if (end > first) w.groups.push_back({&parts_.experts[e], first, end - first});
  }
  std::copy(dispatched.row_token.begin(), dispatched.row_token.end(), w.row_token.begin());
  if (shared) {
    w.groups.push_back({&parts_.shared.front(), pairs, tokens});
    std::iota(w.row_token.begin() + pairs, w.row_token.begin() + pairs + tokens, 0);
  }
  const auto home = w.prepare->slots();
  std::size_t at = 0;
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (int j = 0; j < top_k; ++j, ++at) {
      const auto pair = static_cast<std::size_t>(t * top_k + j);
      w.slots[at] = home[pair];
      w.slot_weights[at] = w.weights[pair];
    }
    if (shared) {
      w.slots[at] = static_cast<std::int32_t>(pairs + t);
      w.slot_weights[at++] = 1.0f;
    }
  }
  return pairs + (shared ? tokens : 0);
}

Result<Layer::Observed> Layer::forward(const Activations& x, Matrix<const float> exact, Matrix<float> hidden,
                               Workspace& w, Stream& stream) const {
  const std::int64_t tokens = x.rows;
  const int experts = parts_.routing.experts, top_k = parts_.routing.top_k;
  const Activations router_input{const_cast<float*>(exact.data), DType::kF32, tokens, exact.cols, exact.stride};
  parts_.gate_kernel->run({&parts_.gate, router_input, {w.logits.data(), DType::kF32, tokens, experts, experts}}, stream);
  const Matrix<const float> logits(w.logits.data(), tokens, experts);
  parts_.route_kernel->run({&parts_.routing, logits, parts_.bias.empty() ? nullptr : parts_.bias.data(),
                            w.ids.data(), w.weights.data()}, stream);

  w.prepare->send(x, {tokens, top_k, w.ids.data(), w.weights.data()});
  const Dispatched dispatched = w.prepare->receive();
  const std::int64_t rows = gather_groups(dispatched, tokens, w);
  const Matrix<float> out(w.rows.as<float>(), rows, hidden.cols);
  parts_.mlp_kernel->run({dispatched.x, w.groups, w.row_token.data(), out, w.scratch.data()}, stream);
  const int per_token = top_k + (parts_.shared.empty() ? 0 : 1);
  parts_.combine_kernel->run({Matrix<const float>(out.data, rows, out.cols), w.slots.data(),
                              w.slot_weights.data(), per_token, hidden}, stream);
  const auto pairs = static_cast<std::size_t>(tokens * top_k);
  return Observed{logits, std::span(w.ids).first(pairs), std::span(w.weights).first(pairs)};
}

std::size_t Layer::bytes() const {
  std::size_t total = parts_.gate.bytes();
  for (const auto& expert : parts_.experts) total += expert.bytes();
  for (const auto& expert : parts_.shared) total += expert.bytes();
  return total;
}

}  // namespace braid::moe
