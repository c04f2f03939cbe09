// SPDX-License-Identifier: Apache-2.0
#include "moe/layer.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "tensor/staging.h"

namespace braid::moe {

Workspace::Workspace(const LayerShape& s, std::int64_t inter, std::unique_ptr<PrepareFinalize> p, Stream& on)
    : shape(s), stream(on), prepare(std::move(p)), experts(s.hidden, inter, on) {
  const auto tokens = static_cast<std::size_t>(shape.max_tokens);
  const auto choices = tokens * static_cast<std::size_t>(shape.top_k);
  logits = stream.allocate(tokens * static_cast<std::size_t>(shape.experts) * sizeof(float));
  ids = stream.allocate(choices * sizeof(std::int32_t));
  weights = stream.allocate(choices * sizeof(float));
  experts.results(static_cast<std::int64_t>(choices + (shape.shared ? tokens : 0)));
  if (prepare->local() || !shape.shared) return;
  const auto chunk = static_cast<std::size_t>(prepare->max_tokens());
  shared_rows = stream.allocate(chunk * static_cast<std::size_t>(shape.hidden) * sizeof(float));
  std::vector<std::int32_t> numbers(chunk);
  std::iota(numbers.begin(), numbers.end(), 0);
  own_rows = upload(stream, numbers);
  ones = upload(stream, std::vector<float>(chunk, 1.0f));
}

Result<Layer::Observed> Layer::forward(const Activations& x, Matrix<const float> exact, Matrix<float> hidden,
                                       std::int64_t most_tokens, Workspace& w, Stream& stream) {
  const std::int64_t tokens = x.rows;
  const int experts = parts_.routing.experts, top_k = parts_.routing.top_k;
  const Activations router_input{const_cast<float*>(exact.data), DType::kF32, tokens, exact.cols, exact.stride};
  parts_.gate_kernel->run({&parts_.gate, router_input, {w.logits.data(), DType::kF32, tokens, experts, experts}}, stream);
  const Matrix<const float> logits(w.logits.as<float>(), tokens, experts);
  auto* const ids = w.ids.as<std::int32_t>();
  auto* const weights = w.weights.as<float>();
  parts_.route_kernel->run({&parts_.routing, logits, parts_.bias.as<float>(), ids, weights}, stream);

  const std::int64_t chunk = w.prepare->max_tokens();
  std::int64_t first = 0;
  do {
    const std::int64_t count = std::clamp<std::int64_t>(tokens - first, 0, chunk);
    const Routing routing{count, top_k, ids + first * top_k, weights + first * top_k, &parts_.placement};
    const Matrix<float> part(hidden.row(count > 0 ? first : 0), count, hidden.cols, hidden.stride);
    RETURN_IF_ERROR(run_chunk(x.slice_rows(count > 0 ? first : 0, count), routing, part, w, stream));
    first += chunk;
  } while (first < most_tokens);
  const auto pairs = static_cast<std::size_t>(tokens * top_k);
  return Observed{logits, {ids, pairs}, {weights, pairs}};
}

Status Layer::run_chunk(const Activations& x, const Routing& routing, Matrix<float> hidden, Workspace& w,
                        Stream& stream) {
  const bool local = w.prepare->local(), shared = !parts_.shared.empty();
  RETURN_IF_ERROR(w.prepare->send(x, routing, parts_.index));
  if (shared && !local) run_shared(x, w, stream);
  ASSIGN_OR_RETURN(const Dispatched dispatched, w.prepare->receive());
  for (std::size_t slot = 0; slot < slot_rows_.size() && !local; ++slot) slot_rows_[slot] += dispatched.count(slot);
  const ExpertsArgs args{parts_.mlp_kernel, &dispatched, parts_.experts, shared && local ? &parts_.shared.front() : nullptr};
  RETURN_IF_ERROR(w.prepare->send_back(experts_for(dispatched.format).run(args, w.experts, stream)));
  RETURN_IF_ERROR(w.prepare->collect(hidden));
  if (shared && !local) add_shared(hidden, w, stream);
  return Status::success();
}

void Layer::run_shared(const Activations& x, Workspace& w, Stream& stream) const {
  const ops::PackedMlp* const group = &parts_.shared.front();
  const std::int32_t offsets[] = {0, static_cast<std::int32_t>(x.rows)};
  const Matrix<float> out(w.shared_rows.as<float>(), x.rows, w.shape.hidden);
  parts_.mlp_kernel->run({x, std::span(&group, 1), offsets, nullptr, out, w.experts.mlp()}, stream);
}

void Layer::add_shared(Matrix<float> hidden, Workspace& w, Stream& stream) const {
  const Matrix<const float> rows(w.shared_rows.as<float>(), hidden.rows, hidden.cols);
  parts_.combine_kernel->run({rows, w.own_rows.as<std::int32_t>(), w.ones.as<float>(), 1, hidden}, stream);
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
