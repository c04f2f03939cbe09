// SPDX-License-Identifier: Apache-2.0
// Requests of /v1/messages, Anthropic's API, as chats.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "protocol/request.h"

namespace braid::protocol {

// Whether the answer or only the number of its prompt's tokens is wanted, which needs no max_tokens.
enum class MessagesPurpose { kAnswer, kCount };

Result<ChatRequest> parse_messages(std::string_view body, const RequestDefaults& defaults, bool join_parts, MessagesPurpose purpose);

// {"type": "error", "error": {"type": "invalid_request_error", "message": ...}}
std::string anthropic_error_body(const Error& error, int status);

}  // namespace braid::protocol
