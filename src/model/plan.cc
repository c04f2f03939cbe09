// SPDX-License-Identifier: Apache-2.0
#include "model/plan.h"

#include <algorithm>
#include <bit>

#include "tensor/counting_stream.h"

namespace braid::model {
namespace {

// What grows with the first large steps: logits, splits of decode attention, and rows as GEMMs want them or, of an FP8
// cache, as prefill does.
std::size_t step_bytes(const Config& c, const Options& o) {
  const std::int64_t sequences = std::max(o.max_sequences, 1), tokens = std::max<std::int64_t>(o.max_batched_tokens, sequences);
  const std::int64_t longest = std::min<std::int64_t>(o.max_model_len, Footprint::kLongContext);
  const std::int64_t row = std::int64_t{6} * c.hidden + std::int64_t{4} * c.vocab_size;
  const ops::AttentionShape shape = c.kv_lora > 0 ? ops::AttentionShape{c.heads, 1, c.kv_lora + c.rope_dim, c.kv_lora, 1.0f}
                                                  : ops::AttentionShape{c.heads, c.kv_heads, c.head_dim, c.head_dim, 1.0f};
  const std::size_t splits = ops::AttentionDecode::scratch_bytes(shape, sequences, longest);
  const std::int64_t fed = tokens * std::max(1, c.moe.experts > 0 ? c.moe.top_k : 1) * std::max({c.hidden, c.inter, c.moe.inter}) * 2;
  const auto keys = static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(longest + tokens)));
  const std::int64_t expanded = o.f8_cache && c.kv_lora == 0 ? keys * c.kv_heads * c.head_dim * 4 : 0, scratch = std::max(fed, expanded);
  return static_cast<std::size_t>(sequences * row + scratch + scratch / 8) + splits + splits / 2;
}

// One for each number of rows and length of contexts.
std::size_t graph_bytes(const Config& c) {
  constexpr std::size_t kLayer = 48 << 10, kGraphs = 160;
  return static_cast<std::size_t>(c.layers) * kLayer * kGraphs;
}

}  // namespace

Result<std::unique_ptr<Model>> plan(const weights::Checkpoint& checkpoint, Options options, const ops::Backend& backend) {
  options.plan = true;
  options.experts = nullptr;
  options.two_micro_batches = false;
  options.max_model_len = options.max_batched_tokens = options.max_sequences = 1;
  return build(checkpoint, options, backend);
}

Result<Footprint> footprint(const weights::Checkpoint& checkpoint, Options options, const ops::Backend& backend) {
  CountingStream counting(*backend.stream);
  options.plan = true;
  ASSIGN_OR_RETURN(const auto planned, build(checkpoint, options, {backend.kernels, &counting, backend.forced}));
  Footprint f{planned->weight_bytes(), counting.bytes() + step_bytes(planned->config(), options), graph_bytes(planned->config()), planned->cache_layout()};
  f.cache.stream = backend.stream;
  return f;
}

std::size_t bytes_of_rank(const Model& planned, int ranks, int redundant) {
  const std::size_t bytes = planned.weight_bytes(), experts = planned.weight_count().expert_bytes;
  const auto count = static_cast<std::size_t>(planned.config().moe.experts), all = count + static_cast<std::size_t>(redundant);
  if (count == 0) return bytes;
  const std::size_t slots = (all + static_cast<std::size_t>(ranks) - 1) / static_cast<std::size_t>(ranks);
  return bytes - experts + experts / count * slots;
}

std::int64_t active_parameters(const Model& planned) {
  const auto count = planned.weight_count();
  const auto& moe = planned.config().moe;
  if (moe.experts == 0) return count.parameters;
  return count.parameters - count.expert_parameters + count.expert_parameters / moe.experts * moe.top_k;
}

}  // namespace braid::model
