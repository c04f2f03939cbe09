// SPDX-License-Identifier: Apache-2.0
// When a sequence ends by itself. Stop strings are matched where text is made, in the serving layer,
// which then cancels.
#pragma once

#include <cstdint>
#include <span>

#include "engine/sequence.h"
#include "protocol/sampling_params.h"

namespace braid::engine {

struct Stop {
  protocol::FinishReason reason = protocol::FinishReason::kNone;
  bool by_stop_id = false;  // one of stop_token_ids, not an end-of-sequence token
};

// Whether `sequence` ends with its last token, which was generated.
Stop stop_after(const Sequence& sequence,
                const protocol::SamplingParams& params,
                std::span<const std::int32_t> eos_ids,
                std::int32_t max_model_len);

}  // namespace braid::engine
