// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: chat messages, from what clients send to what templates expect.
#pragma once

#include "protocol/shape.h"

namespace braid::protocol {

// Checks the tool calls of assistants, which the shape of a message leaves alone.
Status check_tool_calls(const Json& messages);
// Contents: null becomes "", parts become one text when the template wants texts, and texts parts
// when it wants parts. Arguments of tool calls, JSON text on the wire, become objects, and
// reasoning_content becomes reasoning.
void prepare_messages(Json& messages, bool join_parts);
// The text of a content: itself, or its parts joined by newlines.
std::string content_text(const Json& content);

}  // namespace braid::protocol
