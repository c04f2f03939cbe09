// SPDX-License-Identifier: Apache-2.0
// Log-probabilities in the forms of the endpoints, as JSON text.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "serve/generation.h"

namespace braid::serve {

// A token and what is known of its position.
struct ScoredToken {
  std::int32_t token = 0;
  const engine::PositionLogprobs* position = nullptr;  // null: nothing
};

// The tokens of a choice's prompt; of a piece or a whole choice.
std::vector<ScoredToken> prompt_scores(const Generation& g, const Choice& choice);
std::vector<ScoredToken> scores(std::span<const std::int32_t> tokens, std::span<const engine::PositionLogprobs> positions);

// {"content": [{"token", "logprob", "bytes", "top_logprobs": [...]}, ...]}
std::string chat_logprobs(const Generation& g, std::span<const engine::PositionLogprobs> positions);
// {"text_offset", "token_logprobs", "tokens", "top_logprobs"}; `offset` is where the first token's
// text begins, in characters, and becomes where the last one's ends.
std::string completion_logprobs(const Generation& g, std::span<const ScoredToken> tokens, std::size_t& offset);
// {"content": [{"token_id", "logprob", "rank", "top_logprobs": [...]}, ...]}
std::string generate_logprobs(std::span<const engine::PositionLogprobs> positions);
// [null, {"ID": {"logprob", "rank", "decoded_token"}, ...}, ...]; null when they were not asked for.
std::string prompt_logprobs(const Generation& g, const Choice& choice);
std::string id_list(std::span<const std::int32_t> ids);

}  // namespace braid::serve
