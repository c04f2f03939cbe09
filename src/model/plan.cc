// SPDX-License-Identifier: Apache-2.0
#include "model/plan.h"

namespace braid::model {

Result<std::unique_ptr<Model>> plan(const weights::Checkpoint& checkpoint, Options options, const ops::Backend& backend) {
  options.plan = true;
  options.experts = nullptr;
  options.two_micro_batches = false;
  options.max_model_len = options.max_batched_tokens = options.max_sequences = 1;
  return build(checkpoint, options, backend);
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
