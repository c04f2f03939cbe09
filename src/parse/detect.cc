// SPDX-License-Identifier: Apache-2.0
#include "parse/detect.h"

#include <algorithm>
#include <string>
#include <vector>

namespace braid::parse {
namespace {

// The parser of templates that have all of the markers.
struct Rule {
  std::string_view parser;
  std::vector<std::string_view> markers;
};

std::string first_match(const std::vector<Rule>& rules, std::string_view chat_template) {
  const auto fits = [&](const Rule& rule) {
    return std::all_of(rule.markers.begin(), rule.markers.end(), [&](std::string_view marker) {
      return chat_template.find(marker) != std::string_view::npos;
    });
  };
  const auto found = std::find_if(rules.begin(), rules.end(), fits);
  return found == rules.end() ? std::string() : std::string(found->parser);
}

// From special to general.
const std::vector<Rule>& tool_rules() {
  static const std::vector<Rule> rules = {
      {"deepseek_v4", {"DSML", "tool_calls>"}},
      {"deepseek_v32", {"DSML"}},
      {"kimi_k2", {"<|tool_calls_section_begin|>"}},
      {"deepseek_v3", {"<｜tool▁calls▁begin｜>", "```json"}},
      {"deepseek_v31", {"<｜tool▁calls▁begin｜>"}},
      {"openai", {"<|channel|>"}},
      {"mistral", {"[TOOL_CALLS]"}},
      {"", {"<minimax:"}},
      {"glm45", {"<arg_key>"}},
      {"qwen3_coder", {"<function="}},
      {"hermes", {"<tool_call>"}},
      {"llama4_json", {"<|header_start|>", "\"parameters\""}},
      {"llama4_pythonic", {"<|header_start|>"}},
      {"llama3_json", {"<|start_header_id|>", "\"parameters\""}},
  };
  return rules;
}

const std::vector<Rule>& reasoning_rules() {
  static const std::vector<Rule> rules = {
      {"deepseek_v4", {"DSML", "tool_calls>"}},
      {"deepseek_v3", {"DSML"}},
      {"kimi_k2", {"<|tool_calls_section_begin|>", "<think>"}},
      {"deepseek_r1", {"<｜tool▁calls▁begin｜>", "```json", "</think>"}},
      {"deepseek_v3", {"<｜tool▁calls▁begin｜>", "<think>"}},
      {"openai_gptoss", {"<|channel|>"}},
      {"mistral", {"[THINK]"}},
      {"", {"<minimax:"}},
      {"glm45", {"<arg_key>", "<think>"}},
      {"qwen3", {"<tool_call>", "<think>"}},
      {"deepseek_r1", {"<think>"}},
  };
  return rules;
}

}  // namespace

ParserNames detect_parsers(std::string_view chat_template) {
  return {first_match(tool_rules(), chat_template), first_match(reasoning_rules(), chat_template)};
}

}  // namespace braid::parse
