// SPDX-License-Identifier: Apache-2.0
#include "protocol/rules.h"

#include <algorithm>
#include <array>

#include "protocol/request_shapes.h"

namespace braid::protocol::rules {
namespace {

constexpr std::size_t kMostPrompts = 1024;
constexpr std::size_t kLongestSalt = 128;

const Json& get(const Json& object, std::string_view key) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

bool given(const Json& object, std::string_view key) { return !get(object, key).is_null(); }

bool is_word(const Json& value, std::string_view word) {
  return value.is_string() && value.get_ref<const std::string&>() == word;
}

Status one_of_three(const Json& body, const std::string& param) {
  const Json& structured = get(body, "structured_outputs");
  int count = 0;
  for (const char* kind : {"json", "regex", "choice"}) count += given(structured, kind);
  if (count > 1) return invalid_argument("structured_outputs may have only one of json, regex and choice", param);
  return {};
}

Status structural_tag_text(const Json& body) {
  const Json& tag = get(get(body, "structured_outputs"), "structural_tag");
  if (tag.is_null()) return {};
  const auto parsed = tag.is_string() ? parse_shallow(tag.get_ref<const std::string&>()) : std::nullopt;
  const bool valid = tag.is_object() || (parsed && parsed->is_object());
  if (!valid) return invalid_argument("structured_outputs.structural_tag is not a JSON object", "structured_outputs");
  return {};
}

Status structured_outputs_or_tools(const Json& body) {
  RETURN_IF_ERROR(one_of_three(body, {}));
  const Json& structured = get(body, "structured_outputs");
  const bool constrained = given(structured, "json") || given(structured, "regex") || given(structured, "choice");
  const Json& choice = get(body, "tool_choice");
  const bool word = !body.contains("tool_choice") || is_word(choice, "none") || is_word(choice, "auto") || is_word(choice, "required");
  if (constrained && !word) return invalid_argument("structured_outputs and a named tool exclude each other");
  return structural_tag_text(body);
}

Status named_tool(const Json& body, const Json& choice) {
  static const std::string kUsage = R"(; write {"type": "function", "function": {"name": "my_function"}})";
  const Json& function = get(choice, "function");
  if (!function.is_object()) return invalid_argument("tool_choice.function is not an object" + kUsage, "tool_choice.function");
  const Json& name = get(function, "name");
  if (!truthy(name) || !name.is_string()) {
    return invalid_argument("tool_choice.function.name is missing or no text" + kUsage, "tool_choice.function.name");
  }
  const Json& tools = get(body, "tools");
  const bool offered = std::any_of(tools.begin(), tools.end(), [&](const Json& tool) { return get(get(tool, "function"), "name") == name; });
  if (!offered) return invalid_argument("tool_choice names " + name.dump() + ", which is none of the tools", "tool_choice");
  return {};
}

Status tool_choice(const Json& body) {
  const Json& tools = get(body, "tools");
  if (tools.is_array() && tools.empty()) return invalid_argument("tools is an empty list; offer a tool or leave the field out", "tools");
  const Json& choice = get(body, "tool_choice");
  if (choice.is_null() || is_word(choice, "none")) return {};
  if (tools.is_null()) return invalid_argument("tool_choice needs tools", "tool_choice");
  if (choice.is_object()) return named_tool(body, choice);
  if (is_word(choice, "auto") || is_word(choice, "required")) return {};
  return invalid_argument("tool_choice is " + choice.dump() + "; expected none, auto, required or a named tool", "tool_choice");
}

Status are_numbers(const Json& body, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const Json& value = get(body, name);
    if (value.is_null() || value.is_number() || value.is_boolean()) continue;
    return invalid_argument(std::string(name) + " is " + value.dump() + "; expected an integer", name);
  }
  return {};
}

double number(const Json& value) { return value.is_boolean() ? value.get<bool>() : value.get<double>(); }

Status prompt_logprobs(const Json& body) {
  const Json& value = get(body, "prompt_logprobs");
  if (value.is_null()) return {};
  const double count = number(value);
  if (truthy(get(body, "stream")) && (count > 0 || count == -1)) {
    return invalid_argument("prompt_logprobs are not available with stream: true", "prompt_logprobs");
  }
  if (count < 0 && count != -1) return invalid_argument("prompt_logprobs is " + value.dump() + "; expected 0 or more, or -1 for all", "prompt_logprobs");
  return {};
}

Status chat_logprobs(const Json& body) {
  const bool wanted = truthy(get(body, "logprobs"));
  if (truthy(get(body, "logprob_token_ids"))) {
    if (truthy(get(body, "use_beam_search"))) return invalid_argument("logprob_token_ids is not available with beam search", "logprob_token_ids");
    if (!wanted) return invalid_argument("logprob_token_ids needs logprobs: true", "logprob_token_ids");
  }
  RETURN_IF_ERROR(are_numbers(body, {"prompt_logprobs", "top_logprobs"}));
  RETURN_IF_ERROR(prompt_logprobs(body));
  const Json& top = get(body, "top_logprobs");
  if (top.is_null()) return {};
  const double count = number(top);
  if (count < 0 && count != -1) return invalid_argument("top_logprobs is " + top.dump() + "; expected 0 or more, or -1 for all", "top_logprobs");
  if (count != 0 && !wanted) return invalid_argument("top_logprobs needs logprobs: true", "top_logprobs");
  return {};
}

Status completion_logprobs(const Json& body) {
  const bool ids = truthy(get(body, "logprob_token_ids")), echo = truthy(get(body, "echo"));
  const bool beam = truthy(get(body, "use_beam_search")), wanted = given(body, "logprobs");
  if (ids && beam) return invalid_argument("logprob_token_ids is not available with beam search", "logprob_token_ids");
  if (beam && echo && wanted) return invalid_argument("echo with logprobs is not available with beam search", "echo");
  if (ids && echo && get(body, "max_tokens") == 0) {
    return invalid_argument("logprob_token_ids needs generated tokens, and max_tokens is 0", "logprob_token_ids");
  }
  if (ids && !wanted) return invalid_argument("logprob_token_ids needs logprobs", "logprob_token_ids");
  RETURN_IF_ERROR(are_numbers(body, {"prompt_logprobs", "logprobs"}));
  RETURN_IF_ERROR(prompt_logprobs(body));
  const Json& top = get(body, "logprobs");
  if (!top.is_null() && number(top) < 0 && number(top) != -1) {
    return invalid_argument("logprobs is " + top.dump() + "; expected 0 or more, or -1 for all", "logprobs");
  }
  return {};
}

Status stream_options(const Json& body) {
  if (!truthy(get(body, "stream_options")) || truthy(get(body, "stream"))) return {};
  return invalid_argument("stream_options is only allowed with stream: true", "stream_options");
}

Status response_format(const Json& body) {
  const Json& format = get(body, "response_format");
  const Json& type = get(format, "type");
  if (is_word(type, "json_schema") && !given(format, "json_schema")) {
    return invalid_argument("response_format of type json_schema needs the field json_schema", "response_format");
  }
  if (!is_word(type, "structural_tag")) return {};
  Json tag = format;
  if (!fit(shapes::kStructuralTag, tag).ok()) return invalid_argument("response_format is no valid structural tag", "response_format");
  return {};
}

Status cache_salt(const Json& body) {
  const Json& salt = get(body, "cache_salt");
  if (salt.is_null()) return {};
  if (!salt.is_string() || salt.get_ref<const std::string&>().empty()) return invalid_argument("cache_salt is not a text of 1 to 128 characters", "cache_salt");
  const auto& text = salt.get_ref<const std::string&>();
  const auto length = std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
  if (static_cast<std::size_t>(length) > kLongestSalt || text.find_first_of(std::string_view("@/\\\0", 4)) != text.npos) {
    return invalid_argument("cache_salt has more than 128 characters, or one of @ / \\ and NUL", "cache_salt");
  }
  return {};
}

Status number_of_prompts(const Json& body) {
  const Json& prompt = get(body, "prompt");
  const bool ids = std::all_of(prompt.begin(), prompt.end(), [](const Json& item) { return item.is_number_integer() || item.is_boolean(); });
  if (prompt.is_array() && !ids && prompt.size() > kMostPrompts) {
    return invalid_argument("prompt has " + std::to_string(prompt.size()) + " prompts; at most 1024 are allowed", "prompt");
  }
  const Json& embeds = get(body, "prompt_embeds");
  if (embeds.is_array() && embeds.size() > kMostPrompts) {
    return invalid_argument("prompt_embeds has " + std::to_string(embeds.size()) + " prompts; at most 1024 are allowed", "prompt_embeds");
  }
  return {};
}

Status some_prompt(const Json& body) {
  const Json& prompt = get(body, "prompt");
  const Json& embeds = get(body, "prompt_embeds");
  const bool no_embeds = embeds.is_null() || (embeds.is_array() && embeds.empty());
  if ((prompt.is_null() || is_word(prompt, "")) && no_embeds) return invalid_argument("prompt is missing or empty", "prompt");
  return {};
}

using Rule = Status (*)(const Json&);

Status first_broken(std::span<const Rule> rules, const Json& body) {
  for (const Rule rule : rules) RETURN_IF_ERROR(rule(body));
  return {};
}

}  // namespace

Status generation_prompt(const Json& body) {
  if (!truthy(get(body, "continue_final_message")) || !truthy(get(body, "add_generation_prompt"))) return {};
  return invalid_argument("continue_final_message and add_generation_prompt exclude each other");
}

Status chat(const Json& body) {
  static constexpr Rule kRules[] = {generation_prompt, tool_choice,     structured_outputs_or_tools, chat_logprobs,
                                    stream_options,    response_format, cache_salt};
  return first_broken(kRules, body);
}

Status completion(const Json& body) {
  static constexpr Rule kRules[] = {number_of_prompts,
                                    some_prompt,
                                    stream_options,
                                    completion_logprobs,
                                    [](const Json& b) { return one_of_three(b, "structured_outputs"); },
                                    structural_tag_text,
                                    response_format,
                                    cache_salt};
  return first_broken(kRules, body);
}

Status one_constraint(const Json& structured) {
  int count = 0;
  for (const char* kind : {"json", "regex", "choice", "grammar", "json_object", "structural_tag"}) count += given(structured, kind);
  if (count == 1) return {};
  return invalid_argument("structured_outputs needs exactly one of json, regex, choice, grammar, json_object and structural_tag");
}

Status repetition(const Json& detection) {
  const auto read = [&](const char* name) { return given(detection, name) ? get(detection, name).get<std::int64_t>() : 0; };
  const std::int64_t longest = read("max_pattern_size"), shortest = read("min_pattern_size");
  if (longest < 0 || shortest < 0 || shortest > longest) {
    return invalid_argument("repetition_detection needs 0 <= min_pattern_size <= max_pattern_size");
  }
  if (longest > 0 && read("min_count") < 2) return invalid_argument("repetition_detection needs a min_count of 2 or more");
  return {};
}

Status thinking_budget(const Json& value) {
  if (value.is_null() || (value.is_number_integer() && (value.is_number_unsigned() || value.get<std::int64_t>() >= -1))) return {};
  return invalid_argument("thinking_token_budget is " + value.dump() + "; expected 0 or more, or -1 for no limit", "thinking_token_budget");
}

}  // namespace braid::protocol::rules
