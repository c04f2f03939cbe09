// SPDX-License-Identifier: Apache-2.0
#include "protocol/request.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "protocol/chat_json.h"
#include "protocol/loose.h"
#include "protocol/messages.h"
#include "protocol/request_shapes.h"
#include "protocol/rules.h"

namespace braid::protocol {
namespace {

// Knows only where JSON ends to be JSON.
struct FirstFault : nlohmann::json_sax<Json> {
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(std::int64_t) override { return true; }
  bool number_unsigned(std::uint64_t) override { return true; }
  bool number_float(double, const std::string&) override { return true; }
  bool string(std::string&) override { return true; }
  bool binary(Json::binary_t&) override { return true; }
  bool start_object(std::size_t) override { return true; }
  bool key(std::string&) override { return true; }
  bool end_object() override { return true; }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(std::size_t position, const std::string&, const Json::exception&) override {
    byte = position == 0 ? 0 : position - 1;
    return false;
  }
  std::optional<std::size_t> byte;
};

}  // namespace

Result<Json> parse_body(std::string_view body) {
  if (auto json = parse_shallow(body)) return *json;
  FirstFault fault;
  Json::sax_parse(body.begin(), body.end(), &fault);
  if (!fault.byte) return invalid_argument("the body is nested more than " + std::to_string(kDeepest) + " levels deep", "body");
  const std::string at = std::to_string(*fault.byte);
  return invalid_argument("the body is not JSON: error at byte " + at, body.empty() ? "body" : "body." + at);
}

namespace {

Result<Json> read_body(std::string_view body, const Shape& shape, Status (*rule)(const Json&)) {
  ASSIGN_OR_RETURN(Json json, parse_body(body));
  if (json.is_object()) RETURN_IF_ERROR(rule(json));
  RETURN_IF_ERROR(fit(shape, json));
  return json;
}

Status no_rule(const Json&) { return {}; }

// Fields of a body that fits its shape.
class Fields {
 public:
  explicit Fields(const Json& json) : json_(json) {}

  const Json* find(const char* key) const {
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }
  void read(const char* key, int& to) const {
    if (const Json* v = find(key)) to = clamped(*v);
  }
  void read(const char* key, std::optional<int>& to) const {
    if (const Json* v = find(key)) to = clamped(*v);
  }
  void read(const char* key, std::vector<std::int32_t>& to) const {
    const Json* v = find(key);
    if (!v) return;
    to.clear();
    for (const auto& id : *v) to.push_back(clamped(id));
  }
  void read(const char* key, std::vector<std::string>& to) const {
    const Json* v = find(key);
    if (v) to = v->is_string() ? std::vector{v->get<std::string>()} : v->get<std::vector<std::string>>();
  }
  void read(const char* key, float& to) const {
    constexpr double kMost = std::numeric_limits<float>::max();
    if (const Json* v = find(key)) to = static_cast<float>(std::isfinite(v->get<double>()) ? std::clamp(v->get<double>(), -kMost, kMost) : v->get<double>());
  }
  template <class T>
  void read(const char* key, T& to) const {
    if (const Json* v = find(key)) to = v->get<T>();
  }
  void read_json(const char* key, std::string& to) const {
    if (const Json* v = find(key)) to = v->dump(-1, ' ', false, Json::error_handler_t::replace);
  }

 private:
  static int clamped(const Json& v) {
    constexpr std::int64_t kLow = std::numeric_limits<int>::min(), kHigh = std::numeric_limits<int>::max();
    return static_cast<int>(std::clamp(v.get<std::int64_t>(), kLow, kHigh));
  }

  const Json& json_;
};

void read_constraint(const Json& object, StructuredOutput& out) {
  using Kind = StructuredOutput::Kind;
  const Fields f(object);
  if (const Json* schema = f.find("json")) {
    out = {Kind::kJsonSchema, schema->is_string() ? schema->get<std::string>() : schema->dump(), {}};
  } else if (f.find("regex")) {
    out = {Kind::kRegex, object["regex"], {}};
  } else if (f.find("choice")) {
    out = {Kind::kChoice, {}, object["choice"]};
  } else if (f.find("grammar")) {
    out = {Kind::kGrammar, object["grammar"], {}};
  } else if (f.find("structural_tag")) {
    out = {Kind::kStructuralTag, object["structural_tag"], {}};
  } else if (const Json* any = f.find("json_object"); any && any->get<bool>()) {
    out = {Kind::kJsonObject, {}, {}};
  }
}

// What response_format adds to structured_outputs; both together must be one constraint.
Json constraints(const Fields& f) {
  Json all = f.find("structured_outputs") ? *f.find("structured_outputs") : Json::object();
  const Json* format = f.find("response_format");
  if (!format) return all;
  const std::string type = (*format)["type"];
  if (type == "json_object") all["json_object"] = true;
  if (type == "json_schema") all["json"] = (*format)["json_schema"].value("schema", Json());
  if (type == "structural_tag") all["structural_tag"] = format->dump();
  return all;
}

Status read_structured(const Fields& f, StructuredOutput& out) {
  const Json all = constraints(f);
  if (all.empty()) return {};
  RETURN_IF_ERROR(rules::one_constraint(all));
  read_constraint(all, out);
  return {};
}

Status read_logit_bias(const Fields& f, SamplingParams& s) {
  const Json* bias = f.find("logit_bias");
  if (!bias) return {};
  for (const auto& [key, value] : bias->items()) {
    const auto token = key.find('.') == key.npos ? integer_from(key) : std::nullopt;
    if (!token) return invalid_argument("logit_bias has the key \"" + key + "\"; expected token ids", "logit_bias");
    const auto id = std::clamp<std::int64_t>(token->value, INT32_MIN, INT32_MAX);
    s.logit_bias[static_cast<std::int32_t>(id)] = std::clamp(value.get<float>(), -100.0f, 100.0f);
  }
  return {};
}

void read_sampling(const Fields& f, SamplingParams& s) {
  f.read("temperature", s.temperature);
  f.read("top_p", s.top_p);
  f.read("top_k", s.top_k);
  f.read("min_p", s.min_p);
  f.read("presence_penalty", s.presence_penalty);
  f.read("frequency_penalty", s.frequency_penalty);
  f.read("repetition_penalty", s.repetition_penalty);
  f.read("n", s.n);
  f.read("min_tokens", s.min_tokens);
  if (const Json* seed = f.find("seed"); seed && *seed != -1) s.seed = seed->get<std::int64_t>();
  f.read("stop", s.stop);
  f.read("stop_token_ids", s.stop_token_ids);
  f.read("allowed_token_ids", s.allowed_token_ids);
  f.read("bad_words", s.bad_words);
  f.read("ignore_eos", s.ignore_eos);
  f.read("include_stop_str_in_output", s.include_stop_str_in_output);
  f.read("skip_special_tokens", s.skip_special_tokens);
  f.read("spaces_between_special_tokens", s.spaces_between_special_tokens);
  f.read("prompt_logprobs", s.prompt_logprobs);
}

void read_stream(const Fields& f, CommonRequest& c) {
  f.read("stream", c.stream);
  const Json* options = f.find("stream_options");
  if (!options || !c.stream) return;
  Fields(*options).read("include_usage", c.include_usage);
  Fields(*options).read("continuous_usage_stats", c.continuous_usage);
  c.continuous_usage &= c.include_usage;
}

void read_plumbing(const Fields& f, CommonRequest& c) {
  f.read("model", c.model);
  f.read("return_token_ids", c.return_token_ids);
  f.read("priority", c.priority);
  f.read("cache_salt", c.cache_salt);
  f.read("request_id", c.request_id);
  f.read_json("kv_transfer_params", c.kv_transfer_params);
  read_stream(f, c);
}

Status read_common(const Fields& f, CommonRequest& c) {
  read_plumbing(f, c);
  f.read("echo", c.echo);
  f.read("return_tokens_as_token_ids", c.return_tokens_as_token_ids);
  f.read("add_special_tokens", c.add_special_tokens);
  f.read("truncate_prompt_tokens", c.truncate_prompt_tokens);
  if (const Json* side = f.find("truncation_side")) c.truncate_left = *side == "left";
  read_sampling(f, c.sampling);
  RETURN_IF_ERROR(read_structured(f, c.sampling.structured));
  return read_logit_bias(f, c.sampling);
}

void read_template_kwargs(const Fields& f, ChatRequest& c) {
  Json kwargs = f.find("chat_template_kwargs") ? *f.find("chat_template_kwargs") : Json::object();
  if (const Json* effort = f.find("reasoning_effort")) {
    kwargs["reasoning_effort"] = *effort;
    if (!kwargs.contains("enable_thinking")) kwargs["enable_thinking"] = *effort != "none";
  }
  c.template_kwargs = kwargs.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void read_tool_choice(const Fields& f, ChatRequest& c) {
  using ToolChoice = ChatRequest::ToolChoice;
  const Json* choice = f.find("tool_choice");
  if (!choice) return;
  if (choice->is_object()) {
    c.tool_choice = ToolChoice::kNamed;
    c.tool_name = (*choice)["function"]["name"];
  } else {
    c.tool_choice = *choice == "none" ? ToolChoice::kNone : *choice == "required" ? ToolChoice::kRequired : ToolChoice::kAuto;
  }
}

Status read_conversation(const Fields& f, ChatRequest& c, bool join_parts) {
  Json messages = *f.find("messages");
  RETURN_IF_ERROR(check_tool_calls(messages));
  if (!messages.empty()) {
    c.last_role = messages.back().value("role", "");
    if (messages.back().contains("content")) c.last_content = content_text(messages.back()["content"]);
  }
  prepare_messages(messages, join_parts);
  c.messages = messages.dump(-1, ' ', false, Json::error_handler_t::replace);
  f.read_json("tools", c.tools);
  read_tool_choice(f, c);
  if (const Json* budget = f.find("thinking_token_budget"); budget && *budget != -1) f.read("thinking_token_budget", c.thinking_budget);
  f.read("parallel_tool_calls", c.parallel_tool_calls);
  f.read("include_reasoning", c.include_reasoning);
  f.read_json("documents", c.documents);
  read_template_kwargs(f, c);
  f.read("chat_template", c.chat_template);
  f.read("add_generation_prompt", c.add_generation_prompt);
  f.read("continue_final_message", c.continue_final_message);
  return {};
}

// Log-probabilities of named tokens, instead of the likeliest, are not to be had.
void read_named_logprobs(const Fields& f, CommonRequest& c) {
  const Json* named = f.find("logprob_token_ids");
  if (!named || named->empty()) return;
  c.sampling.logprobs.reset();
  c.unsupported = "logprob_token_ids";
}

// 0 top_logprobs is the chosen token alone.
void read_chat_logprobs(const Fields& f, ChatRequest& c) {
  bool wanted = false;
  int top = 0;
  f.read("logprobs", wanted);
  f.read("top_logprobs", top);
  if (wanted) c.sampling.logprobs = top;
  if (c.echo && !c.sampling.prompt_logprobs) c.sampling.prompt_logprobs = top;
  read_named_logprobs(f, c);
}

Prompt ids_of(const Json& list) {
  Prompt prompt;
  prompt.is_ids = true;
  for (const auto& id : list) prompt.ids.push_back(static_cast<std::int32_t>(std::min<std::int64_t>(id.get<std::int64_t>(), INT32_MAX)));
  return prompt;
}

void read_prompts(const Json& json, std::vector<Prompt>& prompts) {
  if (json.is_string()) return prompts.push_back({json.get<std::string>(), {}, false});
  if (json.empty() || json[0].is_number()) return prompts.push_back(ids_of(json));
  for (const auto& item : json) read_prompts(item, prompts);
}

}  // namespace

RequestDefaults read_defaults(std::string_view json) {
  RequestDefaults defaults;
  const auto given = parse_shallow(json);
  if (!given || !given->is_object()) return defaults;
  SamplingParams& s = defaults.sampling;
  for (auto [name, to] : {std::pair{"temperature", &s.temperature}, {"top_p", &s.top_p}, {"min_p", &s.min_p},
                          {"repetition_penalty", &s.repetition_penalty}}) {
    if (const auto v = given->find(name); v != given->end() && v->is_number()) *to = v->get<float>();
  }
  const auto read = [&](const char* name, auto& to) {
    if (const auto v = given->find(name); v != given->end() && v->is_number_integer()) to = v->get<int>();
  };
  read("top_k", s.top_k);
  read("max_new_tokens", defaults.max_tokens);
  return defaults;
}

Result<ChatRequest> parse_chat(std::string_view body, const RequestDefaults& defaults, bool join_parts) {
  ASSIGN_OR_RETURN(Json json, parse_body(body));
  return read_chat(std::move(json), defaults, join_parts);
}

Result<ChatRequest> read_chat(Json json, const RequestDefaults& defaults, bool join_parts) {
  if (json.is_object()) RETURN_IF_ERROR(rules::chat(json));
  RETURN_IF_ERROR(fit(shapes::kChat, json));
  const Fields f(json);
  ChatRequest c;
  c.sampling = defaults.sampling;
  c.max_tokens = defaults.max_tokens;
  RETURN_IF_ERROR(read_conversation(f, c, join_parts));
  RETURN_IF_ERROR(read_common(f, c));
  read_chat_logprobs(f, c);
  f.read("max_tokens", c.max_tokens);
  f.read("max_completion_tokens", c.max_tokens);
  f.read("return_prompt_text", c.return_prompt_text);
  return c;
}

Result<CompletionRequest> parse_completion(std::string_view body, const RequestDefaults& defaults) {
  ASSIGN_OR_RETURN(const Json json, read_body(body, shapes::kCompletion, rules::completion));
  const Fields f(json);
  CompletionRequest c;
  c.sampling = defaults.sampling;
  c.add_special_tokens = true;
  RETURN_IF_ERROR(read_common(f, c));
  c.max_tokens = 16;
  f.read("max_tokens", c.max_tokens);
  f.read("logprobs", c.sampling.logprobs);
  if (c.echo && !c.sampling.prompt_logprobs) c.sampling.prompt_logprobs = c.sampling.logprobs;
  read_named_logprobs(f, c);
  c.echo_only = c.echo && c.max_tokens == 0;
  if (c.echo_only) c.max_tokens = 1;
  if (const Json* embeds = f.find("prompt_embeds"); embeds && *embeds != Json::array()) c.unsupported = "prompt_embeds";
  if (const Json* prompt = f.find("prompt")) read_prompts(*prompt, c.prompts);
  return c;
}

Result<CompletionRequest> parse_generate(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, read_body(body, shapes::kGenerate, no_rule));
  const Fields f(json), sampling(json["sampling_params"]);
  CompletionRequest c;
  read_plumbing(f, c);
  read_sampling(sampling, c.sampling);
  RETURN_IF_ERROR(read_structured(sampling, c.sampling.structured));
  RETURN_IF_ERROR(read_logit_bias(sampling, c.sampling));
  sampling.read("logprobs", c.sampling.logprobs);
  const auto max_tokens = json["sampling_params"].find("max_tokens");
  if (max_tokens == json["sampling_params"].end()) c.max_tokens = SamplingParams().max_tokens;
  sampling.read("max_tokens", c.max_tokens);
  c.prompts.push_back(ids_of(json["token_ids"]));
  return c;
}

Result<TokenizeRequest> parse_tokenize(std::string_view body, bool join_parts) {
  ASSIGN_OR_RETURN(Json json, parse_body(body));
  TokenizeRequest t;
  const Status as_text = fit(shapes::kTokenizeText, json);
  if (!as_text.ok()) {
    if (!json.is_object() || !json.contains("messages")) return as_text.error();
    RETURN_IF_ERROR(rules::generation_prompt(json));
    if (!fit(shapes::kTokenizeChat, json).ok()) return as_text.error();
    t.add_special_tokens = false;
    RETURN_IF_ERROR(read_conversation(Fields(json), t.chat.emplace(), join_parts));
  }
  const Fields f(json);
  if (!t.chat) f.read("prompt", t.prompt.text);  // with messages it may be anything
  f.read("model", t.model);
  f.read("add_special_tokens", t.add_special_tokens);
  f.read("return_token_strs", t.return_token_strs);
  return t;
}

Result<DetokenizeRequest> parse_detokenize(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, read_body(body, shapes::kDetokenize, no_rule));
  DetokenizeRequest d;
  Fields(json).read("model", d.model);
  Fields(json).read("tokens", d.tokens);
  return d;
}

}  // namespace braid::protocol
