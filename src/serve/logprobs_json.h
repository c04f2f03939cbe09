// SPDX-License-Identifier: Apache-2.0
// Log-probabilities in the forms of the chat and completions endpoints, as JSON text.
#pragma once

#include <span>
#include <string>

#include "serve/generation.h"

namespace braid::serve {

// {"content": [{"token", "logprob", "bytes", "top_logprobs": [...]}, ...]}
std::string chat_logprobs(const Generation& g, std::span<const engine::PositionLogprobs> positions);
// {"text_offset", "token_logprobs", "tokens", "top_logprobs"}; `offset` of the first token's text.
std::string completion_logprobs(const Generation& g, std::span<const engine::PositionLogprobs> positions,
                                std::size_t offset);
// [null, {"ID": {"logprob", "rank", "decoded_token"}, ...}, ...]
std::string prompt_logprobs(const Generation& g,
                            std::span<const std::optional<engine::PositionLogprobs>> positions);
std::string id_list(std::span<const std::int32_t> ids);

}  // namespace braid::serve
