// SPDX-License-Identifier: Apache-2.0
#include "engine/stop.h"

#include <algorithm>

namespace braid::engine {

using protocol::FinishReason;

Stop stop_after(const Sequence& sequence,
                const protocol::SamplingParams& params,
                std::span<const std::int32_t> eos_ids,
                std::int32_t max_model_len) {
  const std::int32_t token = sequence.tokens.back();
  const auto holds = [token](std::span<const std::int32_t> ids) {
    return std::find(ids.begin(), ids.end(), token) != ids.end();
  };
  if (sequence.generated() >= params.min_tokens) {
    if (!params.ignore_eos && holds(eos_ids)) return {FinishReason::kStop};
    if (holds(params.stop_token_ids)) return {FinishReason::kStop, true};
  }
  if (sequence.generated() >= params.max_tokens || sequence.length() >= max_model_len) {
    return {FinishReason::kLength};
  }
  return {};
}

}  // namespace braid::engine
