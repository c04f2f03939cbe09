// SPDX-License-Identifier: Apache-2.0
#include "protocol/conversation.h"

#include <utility>

namespace braid::protocol {

Json& Conversation::turn() {
  if (messages_.empty() || messages_.back()["role"] != "assistant") messages_.push_back({{"role", "assistant"}, {"content", nullptr}});
  return messages_.back();
}

void Conversation::add(const std::string& role, Json content) {
  if (role != "assistant" || !turn()["content"].is_null()) messages_.push_back({{"role", role}, {"content", nullptr}});
  messages_.back()["content"] = std::move(content);
}

void Conversation::add_reasoning(const std::string& text) {
  Json& message = turn();
  if (!message["content"].is_null() || message.contains("tool_calls")) {
    messages_.push_back({{"role", "assistant"}, {"content", nullptr}, {"reasoning", text}});
  } else {
    message["reasoning"] = message.value("reasoning", "") + text;
  }
}

void Conversation::add_call(const std::string& id, const std::string& name, const std::string& arguments) {
  turn()["tool_calls"].push_back({{"id", id}, {"type", "function"}, {"function", {{"name", name}, {"arguments", arguments}}}});
}

void Conversation::add_result(const std::string& call_id, Json content) {
  messages_.push_back({{"role", "tool"}, {"tool_call_id", call_id}, {"content", std::move(content)}});
}

}  // namespace braid::protocol
