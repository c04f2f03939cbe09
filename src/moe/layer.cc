// SPDX-License-Identifier: Apache-2.0
#include "moe/layer.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace braid::moe {

Workspace::Workspace(const LayerShape& s, std::int64_t inter, std::unique_ptr<PrepareFinalize> p)
    : shape(s), max_inter(inter), prepare(std::move(p)) {
  const auto tokens = static_cast<std::size_t>(shape.max_tokens);
  const auto choices = tokens * static_cast<std::size_t>(shape.top_k);
  logits.resize(tokens * static_cast<std::size_t>(shape.experts));
  ids.resize(choices);
  weights.resize(choices);
  row_token.reserve(choices + tokens);
  groups.reserve(static_cast<std::size_t>(shape.experts) + 1);
  results(static_cast<std::int64_t>(choices + (shape.shared ? tokens : 0)));
  if (prepare->local() || !shape.shared) return;
  const auto chunk = static_cast<std::size_t>(prepare->max_tokens());
  shared_rows = Buffer(chunk * static_cast<std::size_t>(shape.hidden) * sizeof(float));
  own_rows.resize(chunk);
  std::iota(own_rows.begin(), own_rows.end(), 0);
  ones.assign(chunk, 1.0f);
}

Matrix<float> Workspace::results(std::int64_t count) {
  const auto bytes = static_cast<std::size_t>(count * shape.hidden) * sizeof(float);
  if (rows.size() < bytes) {
    rows = Buffer(bytes);
    scratch = Buffer(ops::GroupedMlp::scratch_bytes(count, max_inter));
  }
  return {rows.as<float>(), count, shape.hidden};
}

Result<Layer::Observed> Layer::forward(const Activations& x, Matrix<const float> exact, Matrix<float> hidden,
                                       std::int64_t most_tokens, Workspace& w, Stream& stream) {
  const std::int64_t tokens = x.rows;
  const int experts = parts_.routing.experts, top_k = parts_.routing.top_k;
  const Activations router_input{const_cast<float*>(exact.data), DType::kF32, tokens, exact.cols, exact.stride};
  parts_.gate_kernel->run({&parts_.gate, router_input, {w.logits.data(), DType::kF32, tokens, experts, experts}}, stream);
  const Matrix<const float> logits(w.logits.data(), tokens, experts);
  parts_.route_kernel->run({&parts_.routing, logits, parts_.bias.empty() ? nullptr : parts_.bias.data(),
                            w.ids.data(), w.weights.data()}, stream);

  const std::int64_t chunk = w.prepare->max_tokens();
  std::int64_t first = 0;
  do {
    const std::int64_t count = std::clamp<std::int64_t>(tokens - first, 0, chunk);
    const Routing routing{count, top_k, w.ids.data() + first * top_k, w.weights.data() + first * top_k, &parts_.placement};
    const Matrix<float> part(hidden.row(count > 0 ? first : 0), count, hidden.cols, hidden.stride);
    RETURN_IF_ERROR(run_chunk(x.slice_rows(count > 0 ? first : 0, count), routing, part, w, stream));
    first += chunk;
  } while (first < most_tokens);
  const auto pairs = static_cast<std::size_t>(tokens * top_k);
  return Observed{logits, std::span(w.ids).first(pairs), std::span(w.weights).first(pairs)};
}

Status Layer::run_chunk(const Activations& x, const Routing& routing, Matrix<float> hidden, Workspace& w,
                        Stream& stream) {
  const bool local = w.prepare->local(), shared = !parts_.shared.empty();
  RETURN_IF_ERROR(w.prepare->send(x, routing, parts_.index));
  if (shared && !local) run_shared(x, w, stream);
  ASSIGN_OR_RETURN(const Dispatched dispatched, w.prepare->receive());
  const auto pairs = static_cast<std::int64_t>(dispatched.row_token.size());
  const std::int64_t rows = gather_groups(dispatched, shared && local ? routing.tokens : 0, w);
  const Matrix<float> out = w.results(rows);
  parts_.mlp_kernel->run({dispatched.x, w.groups, w.row_token.data(), out, w.scratch.data()}, stream);
  RETURN_IF_ERROR(w.prepare->send_back({out.data, rows, out.cols}, shared && local ? pairs : -1));
  RETURN_IF_ERROR(w.prepare->collect(hidden));
  if (shared && !local) add_shared(hidden, w, stream);
  return Status::success();
}

// The groups of the local experts, and of the shared one when it takes part with `own_tokens`.
std::int64_t Layer::gather_groups(const Dispatched& dispatched, std::int64_t own_tokens, Workspace& w) {
  w.groups.clear();
  for (std::size_t s = 0; s < parts_.experts.size(); ++s) {
    const std::int32_t first = dispatched.offsets[s], end = dispatched.offsets[s + 1];
    slot_rows_[s] += end - first;
    if (end > first) w.groups.push_back({&parts_.experts[s], first, end - first});
  }
  const auto pairs = static_cast<std::int64_t>(dispatched.row_token.size());
  w.row_token.assign(dispatched.row_token.begin(), dispatched.row_token.end());
  if (own_tokens == 0) return pairs;
  w.groups.push_back({&parts_.shared.front(), pairs, own_tokens});
  w.row_token.resize(static_cast<std::size_t>(pairs + own_tokens));
  std::iota(w.row_token.begin() + pairs, w.row_token.end(), 0);
  return pairs + own_tokens;
}

void Layer::run_shared(const Activations& x, Workspace& w, Stream& stream) const {
  const ops::MlpGroup group{&parts_.shared.front(), 0, x.rows};
  const Matrix<float> out(w.shared_rows.as<float>(), x.rows, w.shape.hidden);
  parts_.mlp_kernel->run({x, std::span(&group, 1), nullptr, out, w.scratch.data()}, stream);
}

void Layer::add_shared(Matrix<float> hidden, Workspace& w, Stream& stream) const {
  const Matrix<const float> rows(w.shared_rows.as<float>(), hidden.rows, hidden.cols);
  parts_.combine_kernel->run({rows, w.own_rows.data(), w.ones.data(), 1, hidden}, stream);
}

void Layer::apply(Placement placement) {
  CHECK(placement.slots() == parts_.placement.slots() && placement.ranks() == parts_.placement.ranks());
  parts_.placement = std::move(placement);
}

std::size_t Layer::bytes() const {
  std::size_t total = parts_.gate.bytes();
  for (const auto& expert : parts_.experts) total += expert.bytes();
  for (const auto& expert : parts_.shared) total += expert.bytes();
  return total;
}

}  // namespace braid::moe
