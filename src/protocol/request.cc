// SPDX-License-Identifier: Apache-2.0
#include "protocol/request.h"

#include "protocol/reader.h"

namespace braid::protocol {
namespace {

constexpr int kDeepest = 128;
constexpr int kMostChoices = 16384;

// Parts of what is nested deeper than kDeepest are missing.
Json parse_shallow(std::string_view text, bool& too_deep) {
  const auto watch = [&](int depth, Json::parse_event_t, Json&) {
    too_deep |= depth > kDeepest;
    return depth <= kDeepest;
  };
  return Json::parse(text.begin(), text.end(), watch, false);
}

Result<Json> parse_object(std::string_view body) {
  bool too_deep = false;
  Json json = parse_shallow(body, too_deep);
  if (too_deep) return invalid_argument("the body is nested more than " + std::to_string(kDeepest) + " levels deep");
  if (!json.is_object()) return invalid_argument("the body is not a JSON object");
  return json;
}

void read_logit_bias(Reader& r, SamplingParams& s) {
  const Json* bias = r.find("logit_bias");
  if (!bias) return;
  if (!bias->is_object()) return r.fail("logit_bias", "expected an object of token id to bias");
  for (const auto& [key, value] : bias->items()) {
    const bool id = !key.empty() && key.size() < 10 && key.find_first_not_of("0123456789") == std::string::npos;
    if (!id || !value.is_number()) return r.fail("logit_bias", "expected token ids and numbers, found " + key + ": " + value.dump());
    s.logit_bias[std::stoi(key)] = std::clamp(value.get<float>(), -100.0f, 100.0f);
  }
}

std::string schema_text(const Json& schema) { return schema.is_string() ? schema.get<std::string>() : schema.dump(); }

void read_structured_object(Reader& r, const char* field, const Json& object, StructuredOutput& out) {
  using Kind = StructuredOutput::Kind;
  if (!object.is_object()) return r.fail(field, "expected an object");
  int given = 0;
  for (const auto& [key, value] : object.items()) {
    if (value.is_null() || (value.is_boolean() && !value.get<bool>())) continue;
    if (key == "json") out.kind = Kind::kJsonSchema, out.text = schema_text(value), ++given;
    else if (key == "json_object") out.kind = Kind::kJsonObject, ++given;
    else if (key == "regex" && value.is_string()) out.kind = Kind::kRegex, out.text = value.get<std::string>(), ++given;
    else if (key == "grammar" && value.is_string()) out.kind = Kind::kGrammar, out.text = value.get<std::string>(), ++given;
    else if (key == "choice" && value.is_array()) {
      out.kind = Kind::kChoice, ++given;
      for (const auto& choice : value) out.choices.push_back(choice.is_string() ? choice.get<std::string>() : choice.dump());
    } else if (key == "regex" || key == "grammar" || key == "choice" || key == "structural_tag") {
      return r.fail(field, key + " is not supported in this form");
    }
  }
  if (given != 1) r.fail(field, "expected exactly one of json, regex, choice, grammar, json_object");
}

void read_structured(Reader& r, StructuredOutput& out) {
  using Kind = StructuredOutput::Kind;
  if (const Json* format = r.find("response_format")) {
    std::string type;
    if (format->is_object()) Reader(*format).read("type", type);
    if (type == "json_object") out.kind = Kind::kJsonObject;
    else if (type == "json_schema") {
      const auto schema = format->find("json_schema");
      if (schema == format->end() || !schema->is_object() || !schema->contains("schema")) {
        return r.fail("response_format", "json_schema needs {\"name\", \"schema\"}");
      }
      out.kind = Kind::kJsonSchema;
      out.text = schema_text((*schema)["schema"]);
    } else if (type != "text") {
      return r.fail("response_format", "expected type text, json_object or json_schema, found " + format->dump());
    }
  }
  if (const Json* object = r.find("structured_outputs")) read_structured_object(r, "structured_outputs", *object, out);
  Json old = Json::object();
  for (const char* name : {"json", "regex", "choice", "grammar"}) {
    if (const Json* v = r.find((std::string("guided_") + name).c_str())) old[name] = *v;
  }
  if (!old.empty()) read_structured_object(r, "guided_*", old, out);
}

void read_sampling(Reader& r, SamplingParams& s) {
  r.read("temperature", s.temperature, 0, 2);
  r.read("top_p", s.top_p, 0, 1);
  if (s.top_p <= 0) r.fail("top_p", "expected a number above 0 and at most 1");
  r.read("top_k", s.top_k, -1, INT32_MAX);
  s.top_k = std::max(s.top_k, 0);
  r.read("min_p", s.min_p, 0, 1);
  r.read("presence_penalty", s.presence_penalty, -2, 2);
  r.read("frequency_penalty", s.frequency_penalty, -2, 2);
  r.read("repetition_penalty", s.repetition_penalty, 1e-9, 1e6);
  r.read("n", s.n, 1, kMostChoices);
  r.read("min_tokens", s.min_tokens, 0, INT32_MAX);
  r.read("seed", s.seed, INT64_MIN, INT64_MAX);
  r.read("stop", s.stop);
  r.read("stop_token_ids", s.stop_token_ids);
  r.read("allowed_token_ids", s.allowed_token_ids);
  r.read("bad_words", s.bad_words);
  r.read("ignore_eos", s.ignore_eos);
  r.read("include_stop_str_in_output", s.include_stop_str_in_output);
  r.read("skip_special_tokens", s.skip_special_tokens);
  r.read("spaces_between_special_tokens", s.spaces_between_special_tokens);
  r.read("prompt_logprobs", s.prompt_logprobs, -1, INT32_MAX);
  read_logit_bias(r, s);
  if (s.stop.size() > 4) r.fail("stop", "at most 4 stop strings, found " + std::to_string(s.stop.size()));
  for (const auto& stop : s.stop) {
    if (stop.empty()) r.fail("stop", "a stop string can't be empty");
  }
}

// After defaults and request were read.
void check_sampling(Reader& r, CommonRequest& c) {
  SamplingParams& s = c.sampling;
  if (s.temperature == 0) {
    s.top_p = 1;
    s.top_k = 0;
    s.min_p = 0;
    if (s.n > 1) r.fail("n", "must be 1 when temperature is 0 (greedy), found " + std::to_string(s.n));
  }
  if (c.max_tokens && s.min_tokens > *c.max_tokens) {
    r.fail("min_tokens", "must be at most max_tokens " + std::to_string(*c.max_tokens) + ", found " + std::to_string(s.min_tokens));
  }
  if (c.stream && s.prompt_logprobs && *s.prompt_logprobs != 0) r.fail("prompt_logprobs", "is not available with stream");
}

void read_common(Reader& r, const std::string& defaults, CommonRequest& c) {
  const Json given = Json::parse(defaults.empty() ? "{}" : defaults, nullptr, false);
  if (given.is_object()) {
    Reader d(given);
    for (auto [name, to] : {std::pair{"temperature", &c.sampling.temperature}, {"top_p", &c.sampling.top_p},
                            {"min_p", &c.sampling.min_p}, {"repetition_penalty", &c.sampling.repetition_penalty}}) {
      d.read(name, *to, 0, 1e6);
    }
    d.read("top_k", c.sampling.top_k, 0, INT32_MAX);
    if (given.contains("max_new_tokens")) d.read("max_new_tokens", c.max_tokens, 1, INT32_MAX);
  }
  r.read("model", c.model);
  read_sampling(r, c.sampling);
  r.read("stream", c.stream);
  r.read("echo", c.echo);
  r.read("return_token_ids", c.return_token_ids);
  r.read("return_tokens_as_token_ids", c.return_tokens_as_token_ids);
  r.read("add_special_tokens", c.add_special_tokens);
  r.read("priority", c.priority, INT32_MIN, INT32_MAX);
  r.read("cache_salt", c.cache_salt);
  r.read("request_id", c.request_id);
  if (r.find("cache_salt") && (c.cache_salt.empty() || c.cache_salt.size() > 1024)) r.fail("cache_salt", "expected 1 to 1024 characters");
  if (const Json* options = r.find("stream_options")) {
    if (!options->is_object()) return r.fail("stream_options", "expected an object");
    if (!c.stream) return r.fail("stream_options", "is only allowed with stream: true");
    Reader o(*options);
    o.read("include_usage", c.include_usage);
    o.read("continuous_usage_stats", c.continuous_usage);
    if (o.error()) r.fail("stream_options", o.error()->message);
  }
  read_structured(r, c.sampling.structured);
}

// Message contents: null becomes "", parts become one text when the template wants texts; the
// arguments of tool calls, JSON text on the wire, become objects.
void prepare_message(Json& message, bool join_parts) {
  auto content = message.find("content");
  if (content == message.end() || content->is_null()) {
    message["content"] = "";
  } else if (content->is_array() && join_parts) {
    std::string text;
    for (const auto& part : *content) {
      if (!part.is_object() || !part.contains("text") || !part["text"].is_string()) continue;
      text += (text.empty() ? "" : "\n") + part["text"].get<std::string>();
    }
    message["content"] = text;
  } else if (content->is_string() && !join_parts) {
    message["content"] = Json::array({{{"type", "text"}, {"text", *content}}});
  }
  const auto calls = message.find("tool_calls");
  if (calls == message.end() || !calls->is_array()) return;
  for (auto& call : *calls) {
    if (!call.is_object() || !call.contains("function") || !call["function"].is_object()) continue;
    auto& function = call["function"];
    if (!function.contains("arguments") || !function["arguments"].is_string()) continue;
    bool too_deep = false;
    Json parsed = parse_shallow(function["arguments"].get<std::string>(), too_deep);
    if (parsed.is_object() && !too_deep) function["arguments"] = std::move(parsed);
  }
}

void read_messages(Reader& r, ChatRequest& c, bool join_parts) {
  const Json* found = r.find("messages");
  if (!found || !found->is_array()) return r.fail("messages", "expected a list of messages");
  Json messages = *found;
  for (auto& message : messages) {
    if (!message.is_object() || !message.contains("role") || !message["role"].is_string()) {
      return r.fail("messages", "expected objects with a role, found " + message.dump());
    }
    const auto content = message.find("content");
    const bool known = content == message.end() || content->is_null() || content->is_string() || content->is_array();
    if (!known) return r.fail("messages", "content: expected text or a list of parts, found " + content->dump());
    prepare_message(message, join_parts);
  }
  c.messages = messages.dump();
}

void read_chat_logprobs(Reader& r, SamplingParams& s) {
  bool wanted = false;
  int top = 0;
  r.read("logprobs", wanted);
  r.read("top_logprobs", top, -1, INT32_MAX);
  if (r.find("top_logprobs") && !wanted && top != 0) r.fail("top_logprobs", "needs logprobs: true");
  if (wanted) s.logprobs = top;
}

void read_prompt(Reader& r, const Json& json, std::vector<Prompt>& prompts) {
  Prompt prompt;
  if (json.is_string()) {
    prompt.text = json.get<std::string>();
    return prompts.push_back(std::move(prompt));
  }
  if (!json.is_array() || json.empty()) return r.fail("prompt", "expected text, token ids, or a list of these");
  if (!json[0].is_number()) {
    for (const auto& item : json) {
      if (!item.is_string() && !item.is_array()) return r.fail("prompt", "expected text or token ids, found " + item.dump());
      read_prompt(r, item, prompts);
    }
    return;
  }
  prompt.is_ids = true;
  for (const auto& id : json) {
    if (!id.is_number_integer() || id.get<std::int64_t>() < 0 || id.get<std::int64_t>() > INT32_MAX) {
      return r.fail("prompt", "expected token ids, found " + id.dump());
    }
    prompt.ids.push_back(id.get<std::int32_t>());
  }
  prompts.push_back(std::move(prompt));
}

void read_chat(Reader& r, ChatRequest& c, bool join_parts) {
  read_messages(r, c, join_parts);
  r.read_json("tools", c.tools);
  r.read_json("documents", c.documents);
  r.read_json("chat_template_kwargs", c.template_kwargs);
  r.read("chat_template", c.chat_template);
  r.read("add_generation_prompt", c.add_generation_prompt);
  r.read("continue_final_message", c.continue_final_message);
  if (c.tools == "[]") c.tools = "null";
  if (!c.template_kwargs.starts_with('{')) r.fail("chat_template_kwargs", "expected an object");
  if (c.continue_final_message && c.add_generation_prompt && r.find("add_generation_prompt")) {
    r.fail("continue_final_message", "excludes add_generation_prompt");
  }
}

}  // namespace

Result<ChatRequest> parse_chat(std::string_view body, const std::string& defaults, bool join_parts) {
  ASSIGN_OR_RETURN(const Json json, parse_object(body));
  Reader r(json);
  ChatRequest c;
  read_common(r, defaults, c);
  read_chat(r, c, join_parts);
  read_chat_logprobs(r, c.sampling);
  r.read("max_tokens", c.max_tokens, 1, INT32_MAX);
  r.read("max_completion_tokens", c.max_tokens, 1, INT32_MAX);
  check_sampling(r, c);
  if (r.error()) return *r.error();
  return c;
}

Result<CompletionRequest> parse_completion(std::string_view body, const std::string& defaults) {
  ASSIGN_OR_RETURN(const Json json, parse_object(body));
  Reader r(json);
  CompletionRequest c;
  c.add_special_tokens = true;
  c.max_tokens = 16;
  read_common(r, defaults, c);
  r.read("max_tokens", c.max_tokens, c.echo ? 0 : 1, INT32_MAX);
  r.read("logprobs", c.sampling.logprobs, -1, INT32_MAX);
  if (const Json* prompt = r.find("prompt")) read_prompt(r, *prompt, c.prompts);
  else r.fail("prompt", "is missing");
  check_sampling(r, c);
  if (r.error()) return *r.error();
  return c;
}

Result<TokenizeRequest> parse_tokenize(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, parse_object(body));
  Reader r(json);
  TokenizeRequest t;
  if (r.find("messages")) {
    t.chat.emplace();
    read_chat(r, *t.chat, true);
    t.add_special_tokens = false;
  } else {
    r.read("prompt", t.prompt.text);
    if (!r.find("prompt")) r.fail("prompt", "is missing");
  }
  r.read("add_special_tokens", t.add_special_tokens);
  r.read("return_token_strs", t.return_token_strs);
  if (r.error()) return *r.error();
  return t;
}

Result<std::vector<std::int32_t>> parse_detokenize(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, parse_object(body));
  Reader r(json);
  std::vector<std::int32_t> tokens;
  r.read("tokens", tokens);
  if (!r.find("tokens")) r.fail("tokens", "is missing");
  if (r.error()) return *r.error();
  return tokens;
}

int status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument: return 400;
    case ErrorCode::kUnauthorized: return 401;
    case ErrorCode::kNotFound: return 404;
    case ErrorCode::kResourceExhausted: return 429;
    case ErrorCode::kUnimplemented: return 501;
    case ErrorCode::kUnavailable: return 503;
    case ErrorCode::kDeadlineExceeded: return 504;
    default: return 500;
  }
}

std::string error_body(const Error& error, int status) {
  const char* type = status == 404   ? "NotFoundError"
                     : status == 401 ? "AuthenticationError"
                     : status == 429 ? "RateLimitError"
                     : status == 501 ? "NotImplementedError"
                     : status == 503 ? "ServiceUnavailableError"
                     : status >= 500 ? "InternalServerError"
                                     : "BadRequestError";
  const Json body = {{"error", {{"message", error.message}, {"type", type},
                                {"param", error.param.empty() ? Json() : Json(error.param)}, {"code", status}}}};
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace braid::protocol
