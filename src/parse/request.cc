// SPDX-License-Identifier: Apache-2.0
#include "parse/request.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "parse/json_text.h"

namespace braid::parse {
namespace {

using Json = nlohmann::json;

void collect_types(const Json& schema, std::set<std::string>& types) {
  if (!schema.is_object()) return;
  const auto type = schema.find("type");
  if (type != schema.end() && type->is_string()) types.insert(type->get<std::string>());
  if (type != schema.end() && type->is_array()) {
    for (const Json& one : *type) {
      if (one.is_string()) types.insert(one.get<std::string>());
    }
  }
  for (const char* choice : {"anyOf", "oneOf"}) {
    const auto schemas = schema.find(choice);
    if (schemas == schema.end() || !schemas->is_array()) continue;
    for (const Json& one : *schemas) {
      if (one.is_object() && one.contains("type") && one["type"].is_string()) types.insert(one["type"].get<std::string>());
    }
  }
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

}  // namespace

ToolTypes::ToolTypes(std::string_view tools) {
  const Json list = Json::parse(tools.begin(), tools.end(), nullptr, false);
  if (!list.is_array()) return;
  for (const Json& tool : list) {
    const Json function = tool.is_object() ? tool.value("function", tool) : Json();
    if (!function.is_object() || !function.contains("name") || !function["name"].is_string()) continue;
    Parameters& parameters = types_[function["name"].get<std::string>()];
    const Json properties = Json(function).value(Json::json_pointer("/parameters/properties"), Json());
    if (!properties.is_object()) continue;
    for (const auto& [name, schema] : properties.items()) collect_types(schema, parameters[name]);
  }
}

std::string ToolTypes::value(std::string_view tool, std::string_view parameter, std::string_view text) const {
  const auto known = types_.find(tool);
  if (known == types_.end()) return quoted(text);
  const auto declared = known->second.find(parameter);
  if (declared == known->second.end() || declared->second.empty()) return quoted(text);
  const auto& types = declared->second;
  const std::string word = lower(trimmed(text));
  const bool only_string = types.size() == 1 && types.contains("string");
  if (!only_string && word == "null") return word;
  if (types.contains("string")) return quoted(text);
  if (types.contains("boolean") && (word == "true" || word == "false")) return word;
  return json_or_quoted(text);
}

std::optional<bool> asks_for_thinking(std::string_view template_kwargs) {
  const Json kwargs = Json::parse(template_kwargs.begin(), template_kwargs.end(), nullptr, false);
  std::optional<bool> thinking;
  for (const char* name : {"enable_thinking", "thinking"}) {
    if (kwargs.is_object() && kwargs.contains(name) && kwargs[name].is_boolean()) thinking = kwargs[name].get<bool>();
  }
  return thinking;
}

}  // namespace braid::parse
