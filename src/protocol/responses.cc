// SPDX-License-Identifier: Apache-2.0
#include "protocol/responses.h"

#include <algorithm>
#include <array>

#include "protocol/chat_json.h"
#include "protocol/conversation.h"
#include "protocol/responses_shapes.h"

namespace braid::protocol {
namespace {

std::string dumped(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

const Json& get(const Json& object, const char* key) {
  static const Json kNull;
  const auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() ? *found : kNull;
}

bool is(const Json& value, std::string_view word) { return value.is_string() && value.get_ref<const std::string&>() == word; }

Error unsupported(const std::string& what, const std::string& param) {
  return invalid_argument(what + " is not supported here; leave it out", param);
}

// What a body forbids beyond the shapes of its fields.
Status check_rules(const Json& body) {
  if (truthy(get(body, "background")) && body.contains("store") && !truthy(body["store"])) {
    return invalid_argument("background needs store: true", "background");
  }
  if (!get(body, "prompt").is_null()) return unsupported("a prompt template", "prompt");
  return {};
}

Status check_penalties(const Json& body) {
  for (const char* name : {"presence_penalty", "frequency_penalty"}) {
    const Json& value = get(body, name);
    if (!value.is_number() || (value.get<double>() >= -2 && value.get<double>() <= 2)) continue;
    return invalid_argument(std::string(name) + " must be from -2 to 2, found " + dumped(value), "body." + std::string(name));
  }
  return {};
}

// Text parts of any name, as the chat endpoint knows them.
Result<Json> chat_content(const Json& content, const std::string& path) {
  if (content.is_string()) return content;
  Json parts = Json::array();
  for (const Json& part : content) {
    const Json& text = is(get(part, "type"), "refusal") ? get(part, "refusal") : get(part, "text");
    if (!text.is_string()) return unsupported("a part of type " + dumped(get(part, "type")), path + ".content");
    parts.push_back({{"type", "text"}, {"text", text}});
  }
  return parts;
}

// The text of a reasoning item: what was thought, or else its summary.
std::string reasoning_text(const Json& item) {
  for (const char* field : {"content", "summary"}) {
    std::string text;
    if (const Json& parts = get(item, field); parts.is_array()) {
      for (const Json& part : parts) text += get(part, "text").is_string() ? part["text"].get<std::string>() : "";
    }
    if (!text.empty()) return text;
  }
  return {};
}

Status add_item(Json item, const std::string& path, Conversation& conversation) {
  const Json type = get(item, "type");
  if (type.is_null() || is(type, "message")) {
    RETURN_IF_ERROR(fit(shapes::kInputMessage, item, path));
    ASSIGN_OR_RETURN(Json content, chat_content(item["content"], path));
    const std::string role = item["role"];
    conversation.add(role == "developer" ? "system" : role, std::move(content));
  } else if (is(type, "function_call")) {
    RETURN_IF_ERROR(fit(shapes::kFunctionCall, item, path));
    conversation.add_call(item["call_id"], item["name"], item["arguments"]);
  } else if (is(type, "function_call_output")) {
    RETURN_IF_ERROR(fit(shapes::kFunctionOutput, item, path));
    ASSIGN_OR_RETURN(Json content, chat_content(item["output"], path));
    conversation.add_result(item["call_id"], std::move(content));
  } else if (is(type, "reasoning")) {
    if (const std::string text = reasoning_text(item); !text.empty()) conversation.add_reasoning(text);
  } else {
    return unsupported("an input item of type " + dumped(type), path);
  }
  return {};
}

Status add_input(const Json& input, Conversation& conversation) {
  if (input.is_string()) {
    conversation.add("user", input);
    return {};
  }
  std::size_t index = 0;
  for (const Json& item : input) {
    const Status added = add_item(item, "body.input." + std::to_string(index++), conversation);
    if (!added.ok()) return Error{added.error().code, added.error().message, "body.input"};
  }
  return {};
}

Result<Json> chat_tools(const Json& tools) {
  Json all = Json::array();
  std::size_t index = 0;
  for (Json tool : tools) {
    const std::string path = "body.tools." + std::to_string(index++);
    const Json& type = get(tool, "type");
    if (!type.is_null() && !is(type, "function")) return unsupported("a tool of type " + dumped(type), path + ".type");
    RETURN_IF_ERROR(fit(shapes::kFunctionTool, tool, path + ".FunctionTool"));
    tool.erase("type");
    all.push_back({{"type", "function"}, {"function", std::move(tool)}});
  }
  return all;
}

Json named(const Json& tool) { return {{"type", "function"}, {"function", {{"name", get(tool, "name")}}}}; }

// `tools` loses those that may not be called.
Result<Json> chat_choice(const Json& choice, Json& tools) {
  if (choice.is_string()) return choice;
  if (is(get(choice, "type"), "function")) {
    if (get(choice, "name").is_string()) return named(choice);
    return invalid_argument(R"(tool_choice names no tool; write {"type": "function", "name": "my_function"})", "tool_choice");
  }
  if (!is(get(choice, "type"), "allowed_tools")) return unsupported("tool_choice of type " + dumped(get(choice, "type")), "body.tool_choice");
  const Json& allowed = get(choice, "tools");
  Json kept = Json::array();
  for (const Json& tool : tools) {
    const bool may = std::any_of(allowed.begin(), allowed.end(), [&](const Json& one) { return get(one, "name") == tool["function"]["name"]; });
    if (may) kept.push_back(tool);
  }
  tools = std::move(kept);
  return is(get(choice, "mode"), "required") ? Json("required") : Json("auto");
}

Status translate_tools(const Json& body, Json& chat) {
  Json tools = Json::array();
  if (body.contains("tools")) {
    ASSIGN_OR_RETURN(tools, chat_tools(body["tools"]));
  }
  if (body.contains("tool_choice")) {
    ASSIGN_OR_RETURN(chat["tool_choice"], chat_choice(body["tool_choice"], tools));
  }
  if (!tools.empty()) chat["tools"] = std::move(tools);
  else if (is(get(chat, "tool_choice"), "auto")) chat.erase("tool_choice");
  return {};
}

Json response_format(const Json& format) {
  if (!is(get(format, "type"), "json_schema")) return format;
  Json schema = format;
  schema.erase("type");
  return {{"type", "json_schema"}, {"json_schema", std::move(schema)}};
}

void translate_rest(const Json& body, Json& chat) {
  static constexpr std::array kSame = {
      "model", "logit_bias", "parallel_tool_calls", "include_reasoning", "stream", "temperature", "top_p", "top_k", "min_p", "user",
      "skip_special_tokens", "spaces_between_special_tokens", "include_stop_str_in_output", "presence_penalty", "frequency_penalty",
      "repetition_penalty", "seed", "stop", "stop_token_ids", "ignore_eos", "request_id", "priority", "cache_salt", "structured_outputs",
      "chat_template_kwargs", "thinking_token_budget"};
  for (const char* name : kSame) {
    if (body.contains(name)) chat[name] = body[name];
  }
  if (is(get(chat, "stop"), "")) chat.erase("stop");
  if (!get(body, "max_output_tokens").is_null()) chat["max_tokens"] = body["max_output_tokens"];
  if (const Json& effort = get(get(body, "reasoning"), "effort"); !effort.is_null()) chat["reasoning_effort"] = effort;
  if (const Json& format = get(get(body, "text"), "format"); !format.is_null()) chat["response_format"] = response_format(format);
  if (is(get(body, "truncation"), "auto")) chat["truncate_prompt_tokens"] = -1;
  const Json& include = get(body, "include");
  if (std::find(include.begin(), include.end(), "message.output_text.logprobs") == include.end()) return;
  chat["logprobs"] = true;
  if (!get(body, "top_logprobs").is_null()) chat["top_logprobs"] = body["top_logprobs"];
}

std::string repeated(const Json& body) {
  const auto given = [&](const char* name, Json otherwise) { return get(body, name).is_null() ? otherwise : body[name]; };
  Json text = given("text", Json::object());
  if (get(text, "format").is_null()) text["format"] = {{"type", "text"}};
  return dumped({{"instructions", given("instructions", nullptr)},
                 {"metadata", given("metadata", Json::object())},
                 {"parallel_tool_calls", given("parallel_tool_calls", true)},
                 {"previous_response_id", given("previous_response_id", nullptr)},
                 {"prompt", nullptr},
                 {"reasoning", given("reasoning", nullptr)},
                 {"service_tier", given("service_tier", "auto")},
                 {"text", std::move(text)},
                 {"tool_choice", given("tool_choice", "auto")},
                 {"tools", given("tools", Json::array())},
                 {"max_tool_calls", given("max_tool_calls", nullptr)},
                 {"top_logprobs", given("top_logprobs", 0)},
                 {"truncation", given("truncation", "disabled")},
                 {"user", given("user", nullptr)},
                 {"background", truthy(get(body, "background"))}});
}

Result<Json> earlier_messages(const Json& body, const FindHistory& find) {
  const Json& id = get(body, "previous_response_id");
  if (id.is_null()) return Json::array();
  const auto found = find(id);
  if (found) return Json::parse(*found);
  return Error{ErrorCode::kNotFound, "previous_response_id: there is no response " + id.get<std::string>() + "; it was not stored, is not complete, or has been dropped since",
               "previous_response_id"};
}

}  // namespace

Result<ResponsesRequest> parse_responses(std::string_view body, const RequestDefaults& defaults, bool join_parts, const FindHistory& find) {
  ASSIGN_OR_RETURN(Json json, parse_body(body));
  if (json.is_object()) RETURN_IF_ERROR(check_rules(json));
  RETURN_IF_ERROR(fit(shapes::kResponses, json));
  RETURN_IF_ERROR(check_penalties(json));
  ASSIGN_OR_RETURN(Json earlier, earlier_messages(json, find));
  Conversation conversation(std::move(earlier));
  RETURN_IF_ERROR(add_input(json["input"], conversation));
  Json chat = {{"messages", conversation.messages()}};
  if (const Json& instructions = get(json, "instructions"); !instructions.is_null()) {
    const Json system = {{"role", "system"}, {"content", instructions}};
    chat["messages"].insert(chat["messages"].begin(), system);
  }
  RETURN_IF_ERROR(translate_tools(json, chat));
  translate_rest(json, chat);
  ASSIGN_OR_RETURN(ChatRequest read, read_chat(std::move(chat), defaults, join_parts));
  ResponsesRequest request;
  static_cast<ChatRequest&>(request) = std::move(read);
  request.history = dumped(conversation.messages());
  request.repeated = repeated(json);
  if (const Json& store = get(json, "store"); !store.is_null()) request.store = store.get<bool>();
  request.background = truthy(get(json, "background"));
  return request;
}

}  // namespace braid::protocol
