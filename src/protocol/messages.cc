// SPDX-License-Identifier: Apache-2.0
#include "protocol/messages.h"

#include "protocol/request_shapes.h"

namespace braid::protocol {
namespace {

void prepare_content(Json& message, bool join_parts) {
  auto content = message.find("content");
  if (content == message.end() || content->is_null()) {
    message["content"] = "";
  } else if (join_parts || content->is_object()) {
    *content = content_text(*content);
  } else if (content->is_string()) {
    *content = Json::array({{{"type", "text"}, {"text", *content}}});
  }
}

void prepare_tool_calls(Json& message) {
  const auto calls = message.find("tool_calls");
  if (calls == message.end() || !calls->is_array()) return;
  for (auto& call : *calls) {
    if (!call.is_object() || !call.contains("function") || !call["function"].is_object()) continue;
    auto& function = call["function"];
    if (!function.contains("arguments") || !function["arguments"].is_string()) continue;
    auto parsed = parse_shallow(function["arguments"].get_ref<const std::string&>());
    if (parsed && parsed->is_object()) function["arguments"] = std::move(*parsed);
  }
}

void rename_reasoning(Json& message) {
  const auto old = message.find("reasoning_content");
  if (old == message.end()) return;
  Json reasoning = std::move(*old);
  message.erase("reasoning_content");
  if (!reasoning.is_null() && (!message.contains("reasoning") || message["reasoning"].is_null())) {
    message["reasoning"] = std::move(reasoning);
  }
}

}  // namespace

Status check_tool_calls(const Json& messages) {
  for (const auto& message : messages) {
    if (!message.is_object() || message.value("role", Json()) != "assistant") continue;
    const auto calls = message.find("tool_calls");
    if (calls == message.end() || !calls->is_array()) continue;
    Json copy = *calls;
    RETURN_IF_ERROR(fit(shapes::kMessageToolCalls, copy));
  }
  return {};
}

void prepare_messages(Json& messages, bool join_parts) {
  for (auto& message : messages) {
    prepare_content(message, join_parts);
    prepare_tool_calls(message);
    rename_reasoning(message);
  }
}

std::string content_text(const Json& content) {
  if (content.is_string()) return content.get<std::string>();
  std::string text;
  if (!content.is_array()) return text;
  for (const auto& part : content) {
    const bool has_text = part.is_object() && part.contains("text") && part["text"].is_string();
    if (!has_text && !part.is_string()) continue;
    text += (text.empty() ? "" : "\n") + (has_text ? part["text"] : part).get<std::string>();
  }
  return text;
}

}  // namespace braid::protocol
