// SPDX-License-Identifier: Apache-2.0
#include "moe/layer.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "tensor/staging.h"

namespace braid::moe {

Workspace::Workspace(const LayerShape& s, std::int64_t inter, Stream& on) : shape(s), stream(on), experts(s.hidden, inter, on) {
  const auto tokens = static_cast<std::size_t>(shape.max_tokens);
  const auto choices = tokens * static_cast<std::size_t>(shape.top_k);
  logits = stream.allocate(tokens * static_cast<std::size_t>(shape.experts + (shape.shared_gate ? 1 : 0)) * sizeof(float));
  if (shape.shared_gate) shared_weights = stream.allocate(tokens * sizeof(float));
  ids = stream.allocate(choices * sizeof(std::int32_t));
  weights = stream.allocate(choices * sizeof(float));
  experts.results(static_cast<std::int64_t>(choices + (shape.shared ? tokens : 0)));
}

void Workspace::use(std::unique_ptr<PrepareFinalize> with) {
  prepare = std::move(with);
  if (prepare->max_results() > 0) experts.results(prepare->max_results());
  if (!shared_apart() && !shape.scaled_inputs) return;
  const auto chunk = static_cast<std::size_t>(prepare->max_tokens());
  const std::size_t elements = chunk * static_cast<std::size_t>(shape.hidden);
  if (shared_apart()) shared_rows = stream.allocate(elements * sizeof(float));
  if (shape.scaled_inputs) scaled = stream.allocate(elements * size_of(shape.x));
  std::vector<std::int32_t> numbers(chunk);
  std::iota(numbers.begin(), numbers.end(), 0);
  own_rows = upload(stream, numbers);
  std::vector<std::int32_t> counts(2 * (chunk + 1));
  for (std::size_t n = 0; n <= chunk; ++n) counts[2 * n + 1] = static_cast<std::int32_t>(n);
  row_counts = upload(stream, counts);
  ones = upload(stream, std::vector<float>(chunk, 1.0f));
}

Traffic Workspace::traffic() const {
  Traffic sum = prepare->traffic();
  if (other) sum += other->traffic();
  return sum;
}

Status Layer::begin(const Activations& x, Matrix<const float> exact, Matrix<float> hidden, std::int64_t most_tokens,
                    Workspace& w, Stream& stream) {
  const int logits = parts_.routing.logits();
  const Activations router_input{const_cast<float*>(exact.data), DType::kF32, x.rows, exact.cols, exact.stride};
  parts_.gate_kernel->run({&parts_.gate, router_input, {w.logits.data(), DType::kF32, x.rows, logits, logits}, 0, 0, false,
                           parts_.gate_bias.as<float>()}, stream);
  parts_.route_kernel->run({&parts_.routing, Matrix<const float>(w.logits.as<float>(), x.rows, logits), parts_.bias.as<float>(),
                            w.ids.as<std::int32_t>(), w.weights.as<float>(), w.shared_weights.as<float>()}, stream);
  w.x = x;
  w.hidden = hidden;
  w.most_tokens = most_tokens;
  w.first = 0;
  if (!stream.unified() && !w.prepare->local() && on_device_.empty()) on_device_.set(parts_.placement, stream);
  return send(w, stream);
}

std::int64_t Layer::chunk_tokens(const Workspace& w) const {
  return std::clamp<std::int64_t>(w.x.rows - w.first, 0, w.prepare->max_tokens());
}

Activations Layer::chunk_x(const Workspace& w) const {
  const std::int64_t count = chunk_tokens(w);
  return w.x.slice_rows(count > 0 ? w.first : 0, count);
}

Matrix<float> Layer::chunk_hidden(const Workspace& w) const {
  const std::int64_t count = chunk_tokens(w);
  return {w.hidden.row(count > 0 ? w.first : 0), count, w.hidden.cols, w.hidden.stride};
}

// One entry a token: combine() with its weight.
Activations Layer::scaled_chunk(Workspace& w, Stream& stream) const {
  const Activations x = chunk_x(w), scaled{w.scaled.data(), x.dtype, x.rows, x.cols, x.cols};
  const std::int64_t row = x.rows > 0 ? w.first : 0;
  parts_.combine_kernel->run({.rows = x, .slots = w.own_rows.as<std::int32_t>(), .weights = w.weights.as<float>() + row, .per_token = 1,
                              .out = scaled, .accumulate = false}, stream);
  return scaled;
}

Status Layer::send(Workspace& w, Stream& stream) const {
  const Timeline::Scope scope(w.timeline, "dispatch", "layer", parts_.index);
  const std::int64_t count = chunk_tokens(w), row = count > 0 ? w.first : 0, at = row * parts_.routing.top_k;
  const Routing routing{count, parts_.routing.top_k, w.ids.as<std::int32_t>() + at,
                        parts_.scaled_inputs ? w.ones.as<float>() : w.weights.as<float>() + at, &parts_.placement, w.first_row + w.first,
                        std::clamp<std::int64_t>(w.most_tokens - w.first, count, w.prepare->max_tokens()),
                        parts_.routing.shared_gate ? w.shared_weights.as<float>() + row : nullptr,
                        on_device_.slots(), w.beside, counted_ ? counted_->counters(counted_at_) : nullptr};
  return w.prepare->send(parts_.scaled_inputs ? scaled_chunk(w, stream) : chunk_x(w), routing, parts_.index);
}

Status Layer::compute(Workspace& w, Stream& stream) {
  const bool local = w.prepare->local(), apart = w.shared_apart();
  if (apart) run_shared(chunk_x(w), w, stream);
  ASSIGN_OR_RETURN(const Dispatched dispatched, receive(w));
  for (std::size_t slot = 0; slot < slot_rows_.size() && !local && stream.unified(); ++slot) slot_rows_[slot] += dispatched.count(slot);
  const ExpertsArgs args{parts_.mlp_kernel, &dispatched, parts_.experts, w.shape.shared && !apart ? &parts_.shared.front() : nullptr};
  const auto run = [&] {
    const Timeline::Scope scope(w.timeline, "experts", "layer", parts_.index);
    return experts_for(dispatched.format).run(args, w.experts, stream);
  };
  const auto results = run();
  const Timeline::Scope scope(w.timeline, "send back", "layer", parts_.index);
  return w.prepare->send_back(results);
}

Result<Dispatched> Layer::receive(Workspace& w) const {
  const Timeline::Scope scope(w.timeline, "receive", "layer", parts_.index);
  return w.prepare->receive();
}

Status Layer::collect(Workspace& w, Stream& stream) const {
  const Timeline::Scope scope(w.timeline, "combine", "layer", parts_.index);
  const Matrix<float> hidden = chunk_hidden(w);
  RETURN_IF_ERROR(w.prepare->collect(hidden));
  if (w.shared_apart()) add_shared(hidden, w, stream);
  return Status::success();
}

Result<Layer::Observed> Layer::finish(Workspace& w, Stream& stream) {
  RETURN_IF_ERROR(collect(w, stream));
  for (w.first += w.prepare->max_tokens(); w.first < w.most_tokens; w.first += w.prepare->max_tokens()) {
    RETURN_IF_ERROR(send(w, stream));
    RETURN_IF_ERROR(compute(w, stream));
    RETURN_IF_ERROR(collect(w, stream));
  }
  const auto pairs = static_cast<std::size_t>(w.x.rows * parts_.routing.top_k);
  return Observed{{w.logits.as<float>(), w.x.rows, parts_.routing.experts, parts_.routing.logits()}, {w.ids.as<std::int32_t>(), pairs}, {w.weights.as<float>(), pairs}};
}

void Layer::run_shared(const Activations& x, Workspace& w, Stream& stream) const {
  const ops::PackedMlp* const group = &parts_.shared.front();
  const Matrix<float> out(w.shared_rows.as<float>(), x.rows, w.shape.hidden);
  parts_.mlp_kernel->run({x, std::span(&group, 1), w.row_counts.as<std::int32_t>() + 2 * x.rows, nullptr, out, w.experts.mlp()}, stream);
}

void Layer::add_shared(Matrix<float> hidden, Workspace& w, Stream& stream) const {
  const Matrix<const float> rows(w.shared_rows.as<float>(), hidden.rows, hidden.cols);
  const float* const weights = parts_.routing.shared_gate ? w.shared_weights.as<float>() + (hidden.rows > 0 ? w.first : 0) : w.ones.as<float>();
  parts_.combine_kernel->run({rows, w.own_rows.as<std::int32_t>(), weights, 1, hidden}, stream);
}

void Layer::apply(Placement placement, Stream& stream) {
  CHECK(placement.slots() == parts_.placement.slots() && placement.ranks() == parts_.placement.ranks());
  parts_.placement = std::move(placement);
  if (!on_device_.empty()) on_device_.set(parts_.placement, stream);
}

void Layer::count_in(const SlotRows* rows, std::size_t layer) {
  counted_ = rows;
  counted_at_ = layer;
}

std::vector<std::int32_t> Layer::held() const {
  const auto mine = parts_.placement.experts_of(rank_);
  return {mine.begin(), mine.end()};
}

Status Layer::place(Placement placement, int rank) {
  auto before = held();
  const auto wanted = placement.experts_of(rank);
  const std::size_t none = before.size();
  std::vector<std::size_t> kept(wanted.size(), none);  // the old slot
  std::vector<ops::PackedMlp> experts(wanted.size());
  for (std::size_t s = 0; s < wanted.size(); ++s) {
    if (wanted[s] < 0) continue;
    kept[s] = static_cast<std::size_t>(std::find(before.begin(), before.end(), wanted[s]) - before.begin());
    if (kept[s] != none) {
      before[kept[s]] = -1;
    } else {
      ASSIGN_OR_RETURN(experts[s], parts_.load(wanted[s]));
    }
  }
  for (std::size_t s = 0; s < wanted.size(); ++s) {
    if (kept[s] != none) experts[s] = std::move(parts_.experts[kept[s]]);
  }
  parts_.experts = std::move(experts);
  slot_rows_.assign(wanted.size(), 0);
  parts_.placement = std::move(placement);
  on_device_ = {};
  rank_ = rank;
  return Status::success();
}

std::size_t Layer::bytes() const {
  std::size_t total = parts_.gate.bytes();
  for (const auto& expert : parts_.experts) total += expert.bytes();
  for (const auto& expert : parts_.shared) total += expert.bytes();
  return total;
}

}  // namespace braid::moe
