// SPDX-License-Identifier: Apache-2.0
#include "protocol/anthropic.h"

#include <array>

#include "protocol/chat_json.h"
#include "protocol/conversation.h"
#include "protocol/scalar_shapes.h"

namespace braid::protocol {
namespace {

using shapes::Kind;

namespace shape {

using namespace shapes;

constexpr std::string_view kRoleWords[] = {"user", "assistant"}, kThinkingWords[] = {"enabled", "disabled", "adaptive"},
                           kChoiceWords[] = {"auto", "any", "tool", "none"};
constexpr Shape kRole = word(kRoleWords), kThinkingType = word(kThinkingWords), kChoiceType = word(kChoiceWords);
constexpr Shape kBlocks = list_of(kAnyMap);
constexpr Variant kContentVariants[] = {{"", &kText}, {"", &kBlocks}};
constexpr Shape kContent = either(kContentVariants);
constexpr Shape kSystem = nullable(either(kContentVariants));
constexpr Field kMessageFields[] = {{"role", &kRole, true}, {"content", &kContent, true}};
constexpr Shape kMessage = object(kMessageFields), kMessages{.kind = Kind::kList, .low = 1, .item = &kMessage};
constexpr Field kToolFields[] = {{"name", &kText, true}, {"description", &kTextOrNull}, {"input_schema", &kAnyMap}, {"type", &kTextOrNull},
                                 {"strict", &kFlagOrNull}};
constexpr Shape kTool = object(kToolFields), kTools = nullable(list_of(kTool));
constexpr Field kChoiceFields[] = {{"type", &kChoiceType, true}, {"name", &kTextOrNull}, {"disable_parallel_tool_use", &kFlagOrNull}};
constexpr Shape kChoice = nullable(object(kChoiceFields));
constexpr Shape kBudget = nullable(integer(1, INT32_MAX));
constexpr Field kThinkingFields[] = {{"type", &kThinkingType, true}, {"budget_tokens", &kBudget}};
constexpr Shape kThinking = nullable(object(kThinkingFields));
constexpr Field kFormatFields[] = {{"type", &kText, true}, {"schema", &kAnyMap, true}};
constexpr Shape kFormat = nullable(object(kFormatFields));
constexpr Field kOutputFields[] = {{"format", &kFormat}};
constexpr Shape kOutput = nullable(object(kOutputFields));
constexpr Shape kMaxTokens = integer(1, INT32_MAX);

constexpr Field kCountFields[] = {{"model", &kText, true},        {"messages", &kMessages, true}, {"system", &kSystem}, {"tools", &kTools},
                                  {"tool_choice", &kChoice},      {"thinking", &kThinking},       {"max_tokens", &kMaxTokens}};
constexpr Field kAnswerFields[] = {{"model", &kText, true},       {"messages", &kMessages, true}, {"max_tokens", &kMaxTokens, true},
                                   {"system", &kSystem},          {"tools", &kTools},             {"tool_choice", &kChoice},
                                   {"thinking", &kThinking},      {"stop_sequences", &kTextsOrNull}, {"stream", &kFlagOrNull},
                                   {"temperature", &kNumberOrNull}, {"top_p", &kNumberOrNull},    {"top_k", &kIntegerOrNull},
                                   {"output_config", &kOutput}};
constexpr Shape kCount = object(kCountFields), kAnswer = object(kAnswerFields);

constexpr Field kTextFields[] = {{"text", &kText, true}};
constexpr Field kThoughtFields[] = {{"thinking", &kText, true}};
constexpr Field kUseFields[] = {{"id", &kText, true}, {"name", &kText, true}, {"input", &kAnyMap, true}};
constexpr Field kResultFields[] = {{"tool_use_id", &kText, true}, {"content", &kSystem}};
constexpr Shape kTextBlock = object(kTextFields), kThoughtBlock = object(kThoughtFields), kUseBlock = object(kUseFields),
                kResultBlock = object(kResultFields);

}  // namespace shape

std::string dumped(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

const Json& get(const Json& object, const char* key) {
  static const Json kNull;
  const auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() ? *found : kNull;
}

Error unsupported(const std::string& what, const std::string& path) { return invalid_argument(path + ": " + what + " is not supported here", path); }

// Content of text blocks only.
Result<Json> text_content(const Json& content, const std::string& path) {
  if (!content.is_array()) return content.is_null() ? Json("") : content;
  Json parts = Json::array();
  for (const Json& block : content) {
    if (get(block, "type") != "text" || !get(block, "text").is_string()) return unsupported("a block of type " + dumped(get(block, "type")), path);
    parts.push_back({{"type", "text"}, {"text", block["text"]}});
  }
  return parts;
}

Status add_result(const Json& block, const std::string& path, Conversation& conversation) {
  ASSIGN_OR_RETURN(Json content, text_content(get(block, "content"), path + ".content"));
  conversation.add_result(block["tool_use_id"], std::move(content));
  return {};
}

// One block of a message; text is gathered in `text`.
Status add_block(Json block, const std::string& role, const std::string& path, Json& text, Conversation& conversation) {
  const Json type = get(block, "type");
  if (type == "text") {
    RETURN_IF_ERROR(fit(shape::kTextBlock, block, path));
    text.push_back({{"type", "text"}, {"text", block["text"]}});
  } else if (type == "tool_result" && role == "user") {
    RETURN_IF_ERROR(fit(shape::kResultBlock, block, path));
    return add_result(block, path, conversation);
  } else if (type == "tool_use" && role == "assistant") {
    RETURN_IF_ERROR(fit(shape::kUseBlock, block, path));
    conversation.add_call(block["id"], block["name"], dumped(block["input"]));
  } else if (type == "thinking" && role == "assistant") {
    RETURN_IF_ERROR(fit(shape::kThoughtBlock, block, path));
    conversation.add_reasoning(block["thinking"]);
  } else if (type != "redacted_thinking") {
    return unsupported("a block of type " + dumped(type), path + ".type");
  }
  return {};
}

// Results of tools come before what the user says about them; an assistant's text joins its calls.
Status add_message(const Json& message, const std::string& path, Conversation& conversation) {
  const std::string role = message["role"];
  const Json& content = message["content"];
  if (content.is_string()) {
    conversation.add(role, content);
    return {};
  }
  Json text = Json::array();
  std::size_t index = 0;
  for (const Json& block : content) {
    RETURN_IF_ERROR(add_block(block, role, path + ".content." + std::to_string(index++), text, conversation));
  }
  if (!text.empty() || content.empty()) conversation.add(role, std::move(text));
  return {};
}

Result<Json> chat_messages(const Json& body) {
  Conversation conversation;
  if (const Json& system = get(body, "system"); !system.is_null()) {
    ASSIGN_OR_RETURN(Json content, text_content(system, "system"));
    conversation.add("system", std::move(content));
  }
  std::size_t index = 0;
  for (const Json& message : body["messages"]) RETURN_IF_ERROR(add_message(message, "messages." + std::to_string(index++), conversation));
  return conversation.messages();
}

Result<Json> chat_tools(const Json& tools) {
  Json all = Json::array();
  std::size_t index = 0;
  for (const Json& tool : tools) {
    const std::string path = "tools." + std::to_string(index++);
    const Json& type = get(tool, "type");
    if (!type.is_null() && type != "custom") return unsupported("a tool of type " + dumped(type), path + ".type");
    Json function = {{"name", tool["name"]}};
    if (!get(tool, "description").is_null()) function["description"] = tool["description"];
    function["parameters"] = tool.contains("input_schema") ? tool["input_schema"] : Json::object();
    if (!get(tool, "strict").is_null()) function["strict"] = tool["strict"];
    all.push_back({{"type", "function"}, {"function", std::move(function)}});
  }
  return all;
}

void translate_choice(const Json& choice, Json& chat) {
  if (choice.is_null() || !chat.contains("tools")) return;
  const Json& type = choice["type"];
  if (type == "any") chat["tool_choice"] = "required";
  else if (type == "tool") chat["tool_choice"] = {{"type", "function"}, {"function", {{"name", get(choice, "name")}}}};
  else chat["tool_choice"] = type;
  if (get(choice, "disable_parallel_tool_use") == true) chat["parallel_tool_calls"] = false;
}

void translate_thinking(const Json& thinking, Json& chat) {
  if (thinking.is_null()) return;
  const bool wanted = thinking["type"] != "disabled";
  chat["chat_template_kwargs"] = {{"enable_thinking", wanted}, {"thinking", wanted}};
  if (wanted && !get(thinking, "budget_tokens").is_null()) chat["thinking_token_budget"] = thinking["budget_tokens"];
}

Result<Json> chat_body(const Json& body) {
  Json chat = Json::object();
  for (const char* same : {"model", "max_tokens", "stream", "temperature", "top_p", "top_k"}) {
    if (body.contains(same)) chat[same] = body[same];
  }
  if (!get(body, "stop_sequences").is_null()) chat["stop"] = body["stop_sequences"];
  ASSIGN_OR_RETURN(chat["messages"], chat_messages(body));
  if (const Json& tools = get(body, "tools"); !tools.is_null() && !tools.empty()) {
    ASSIGN_OR_RETURN(chat["tools"], chat_tools(tools));
  }
  translate_choice(get(body, "tool_choice"), chat);
  translate_thinking(get(body, "thinking"), chat);
  if (const Json& format = get(get(body, "output_config"), "format"); !format.is_null()) {
    if (format["type"] != "json_schema") return unsupported("a format of type " + dumped(format["type"]), "output_config.format.type");
    chat["response_format"] = {{"type", "json_schema"}, {"json_schema", {{"name", "output"}, {"schema", format["schema"]}}}};
  }
  return chat;
}

}  // namespace

Result<ChatRequest> parse_messages(std::string_view body, const RequestDefaults& defaults, bool join_parts, MessagesPurpose purpose) {
  ASSIGN_OR_RETURN(Json json, parse_body(body));
  RETURN_IF_ERROR(fit(purpose == MessagesPurpose::kAnswer ? shape::kAnswer : shape::kCount, json, ""));
  ASSIGN_OR_RETURN(Json chat, chat_body(json));
  return read_chat(std::move(chat), defaults, join_parts);
}

std::string anthropic_error_body(const Error& error, int status) {
  static constexpr std::array kTypes = {std::pair{400, "invalid_request_error"}, std::pair{401, "authentication_error"},
                                        std::pair{404, "not_found_error"},       std::pair{413, "request_too_large"},
                                        std::pair{429, "rate_limit_error"},      std::pair{503, "overloaded_error"}};
  const char* type = status < 500 ? "invalid_request_error" : "api_error";
  for (const auto& [code, name] : kTypes) {
    if (code == status) type = name;
  }
  return dumped({{"type", "error"}, {"error", {{"type", type}, {"message", error.message}}}});
}

}  // namespace braid::protocol
