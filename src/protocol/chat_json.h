// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: a chat as JSON, for endpoints whose requests become one.
#pragma once

#include <string_view>

#include "protocol/request.h"
#include "protocol/shape.h"

namespace braid::protocol {

// A body as JSON, or an error that says where it ends to be that.
Result<Json> parse_body(std::string_view body);
// A body of /v1/chat/completions, checked as that endpoint does.
Result<ChatRequest> read_chat(Json body, const RequestDefaults& defaults, bool join_parts);

}  // namespace braid::protocol
