// SPDX-License-Identifier: Apache-2.0
#include "parse/request.h"

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <nlohmann/json.hpp>

#include "parse/json_text.h"

namespace braid::parse {
namespace {

using Json = nlohmann::json;

constexpr int kDeepest = 8;

// The type's name in JSON Schema.
std::string type_of(const Json& value) {
  if (value.is_number_integer()) return "integer";
  return value.type_name();
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

// The types that a parameter's schema allows; `root`: the schema that its references are into. What
// does not say anything about the type allows strings.
class SchemaTypes {
 public:
  SchemaTypes(const Json& root, std::set<std::string>& types) : root_(root), types_(types) {}

  void collect(const Json& schema, int depth = 0) {
    const std::size_t before = found_;
    if (schema.is_object() && depth <= kDeepest) {
      each_of(schema, "type", [&](const Json& name) { if (name.is_string()) add(lower(trimmed(name.get<std::string>()))); });
      for (const char* key : {"enum", "const"}) each_of(schema, key, [&](const Json& value) { add(type_of(value)); });
      for (const char* choice : {"anyOf", "oneOf", "allOf"}) each_of(schema, choice, [&](const Json& one) { collect(one, depth + 1); });
      if (const Json* target = referenced(schema)) collect(*target, depth + 1);
    }
    if (found_ == before) add("string");
  }

 private:
  template <class Visit>
  static void each_of(const Json& schema, const char* key, Visit visit) {
    const auto list = schema.find(key);
    if (list == schema.end()) return;
    if (!list->is_array()) return visit(*list);
    for (const Json& one : *list) visit(one);
  }

  const Json* referenced(const Json& schema) const {
    const auto reference = schema.find("$ref");
    if (reference == schema.end() || !reference->is_string()) return nullptr;
    const auto& path = reference->get_ref<const std::string&>();
    if (!path.starts_with("#/")) return nullptr;
    const Json* at = &root_;
    for (std::size_t from = 2; from <= path.size();) {
      const std::size_t end = std::min(path.find('/', from), path.size());
      const auto next = at->is_object() ? at->find(path.substr(from, end - from)) : at->end();
      if (!at->is_object() || next == at->end()) return nullptr;
      at = &*next;
      from = end + 1;
    }
    return at;
  }

  void add(const std::string& name) {
    static const std::map<std::string, std::string> kOtherNames = {
        {"str", "string"},   {"text", "string"},  {"int", "integer"},  {"int32", "integer"}, {"int64", "integer"},
        {"uint", "integer"}, {"long", "integer"}, {"float", "number"}, {"float32", "number"}, {"float64", "number"},
        {"double", "number"}, {"bool", "boolean"}, {"dict", "object"},  {"list", "array"},
    };
    const auto other = kOtherNames.find(name);
    types_.insert(other == kOtherNames.end() ? name : other->second);
    ++found_;
  }

  const Json& root_;
  std::set<std::string>& types_;
  std::size_t found_ = 0;
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Python's spelling of a number (007, +5, .5, 1_000) in JSON's; none: it is no finite number.
std::optional<std::string> number(std::string_view text, bool integer) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (text.empty() || !(is_digit(text.front()) || (text.size() > 1 && text.front() == '.' && is_digit(text[1])))) return std::nullopt;
  std::string json;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool behind_digit = i > 0 && is_digit(text[i - 1]), before_digit = i + 1 < text.size() && is_digit(text[i + 1]);
    if (integer && !is_digit(text[i]) && text[i] != '_') return std::nullopt;
    if (text[i] == '_' && behind_digit && before_digit) continue;
    if (text[i] == '.' && !behind_digit) json += '0';
    json += text[i];
    if (text[i] == '.' && !before_digit) json += '0';
  }
  while (json.size() > 1 && json[0] == '0' && is_digit(json[1])) json.erase(0, 1);
  if (negative) json.insert(0, 1, '-');
  return is_json(json) ? std::optional(json) : std::nullopt;
}

}  // namespace

ToolTypes::ToolTypes(std::string_view tools) {
  const Json list = Json::parse(tools.begin(), tools.end(), nullptr, false);
  if (!list.is_array()) return;
  for (const Json& tool : list) {
    const Json function = tool.is_object() ? tool.value("function", tool) : Json();
    if (!function.is_object() || !function.contains("name") || !function["name"].is_string()) continue;
    Parameters& parameters = types_[function["name"].get<std::string>()];
    const Json schema = function.value("parameters", Json());
    const Json properties = schema.is_object() ? schema.value("properties", Json()) : Json();
    if (!properties.is_object()) continue;
    for (const auto& [name, property] : properties.items()) SchemaTypes(schema, parameters[name]).collect(property);
  }
}

std::string ToolTypes::value(std::string_view tool, std::string_view parameter, std::string_view text) const {
  const auto known = types_.find(tool);
  if (known == types_.end()) return quoted(text);
  const auto declared = known->second.find(parameter);
  if (declared == known->second.end() || declared->second.empty()) return quoted(text);
  const auto& types = declared->second;
  const std::string_view inside = trimmed(text);
  const std::string word = lower(inside);
  if (types.contains("null") && word == "null") return word;
  for (const bool integer : {true, false}) {
    const auto read = types.contains("number") || (integer && types.contains("integer")) ? number(inside, integer) : std::nullopt;
    if (read) return *read;
  }
  if (types.contains("boolean") && (word == "true" || word == "1")) return "true";
  if (types.contains("boolean") && (word == "false" || word == "0")) return "false";
  if ((types.contains("object") || types.contains("array")) && is_json(inside)) return std::string(inside);
  return types.contains("string") ? quoted(text) : json_or_quoted(text);
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
