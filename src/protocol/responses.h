// SPDX-License-Identifier: Apache-2.0
// Requests of /v1/responses: a chat, of which earlier turns may be kept by the server.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "protocol/request.h"

namespace braid::protocol {

struct ResponsesRequest : ChatRequest {
  bool store = true;
  bool background = false;
  // JSON of what an answer repeats: instructions, tools, text, temperature and the like.
  std::string repeated = "{}";
  // The conversation up to here as chat messages, without the instructions, which hold for one turn.
  std::string history = "[]";
};

// The chat messages of an earlier response.
using FindHistory = std::function<std::optional<std::string>(const std::string& response_id)>;

// kNotFound when the previous response is not known.
Result<ResponsesRequest> parse_responses(std::string_view body, const RequestDefaults& defaults, bool join_parts, const FindHistory& find);

}  // namespace braid::protocol
