// SPDX-License-Identifier: Apache-2.0
// Text and JSON into fields.
#include "config/values.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "config/field.h"
#include "config/human_number.h"

namespace braid::config {
namespace {

using Json = nlohmann::json;

Result<std::int64_t> integer_from(const Field& field, std::string_view text) {
  if (field.spec.auto_value && text == "auto") return *field.spec.auto_value;
  if (field.spec.human_size) return parse_human_number(text);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) return value;
  return invalid_argument("'" + std::string(text) + "' is not a whole number");
}

struct TextSetter {
  const Field& field;
  std::string_view text;

  Status operator()(bool& to) const {
    for (std::string_view yes : {"true", "True", "1", "yes", "on"}) {
      if (text == yes) return to = true, Status();
    }
    for (std::string_view no : {"false", "False", "0", "no", "off"}) {
      if (text == no) return to = false, Status();
    }
    return invalid_argument("'" + std::string(text) + "' is neither true nor false");
  }
  Status operator()(int& to) const {
    ASSIGN_OR_RETURN(const std::int64_t value, integer_from(field, text));
    if (value < std::numeric_limits<int>::min() || value > std::numeric_limits<int>::max()) {
      return invalid_argument("'" + std::string(text) + "' is too large");
    }
    to = static_cast<int>(value);
    return {};
  }
  Status operator()(std::int64_t& to) const {
    ASSIGN_OR_RETURN(to, integer_from(field, text));
    return {};
  }
  Status operator()(double& to) const {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
      return invalid_argument("'" + std::string(text) + "' is not a number");
    }
    to = value;
    return {};
  }
  Status operator()(std::string& to) const { return to = text, Status(); }
  Status operator()(std::vector<std::string>& to) const {
    if (text.starts_with('[')) {
      const Json json = Json::parse(text, nullptr, false);
      if (!json.is_discarded()) return set_from_json(field, text);
    }
    to = {std::string(text)};
    return {};
  }
  Status operator()(JsonObject& to) const {
    const Json json = Json::parse(text, nullptr, false);
    if (!json.is_object()) {
      return invalid_argument("'" + std::string(text) + "' is not a JSON object");
    }
    to.text = json.dump();
    return {};
  }
  template <class T>
  Status operator()(std::optional<T>& to) const {
    T value = to.value_or(T());
    if constexpr (!std::is_same_v<T, std::string>) {
      if (text == "none" || text == "None" || text == "null") return to.reset(), Status();
    }
    RETURN_IF_ERROR((*this)(value));
    to = std::move(value);
    return {};
  }
};

Error wrong_type(const Json& json, std::string_view wanted) {
  return invalid_argument(json.dump(-1, ' ', false, Json::error_handler_t::replace) + " is not " +
                          std::string(wanted));
}

struct JsonSetter {
  const Field& field;
  const Json& json;

  Status operator()(bool& to) const {
    if (!json.is_boolean()) return wrong_type(json, "true or false");
    to = json.get<bool>();
    return {};
  }
  template <class Integer>
    requires std::is_same_v<Integer, int> || std::is_same_v<Integer, std::int64_t>
  Status operator()(Integer& to) const {
    if (json.is_string()) return TextSetter{field, json.get_ref<const std::string&>()}(to);
    const bool whole = json.is_number_integer() ||
                       (json.is_number_float() && json.get<double>() == std::floor(json.get<double>()) &&
                        std::abs(json.get<double>()) < 9e15);
    if (!whole) return wrong_type(json, "a whole number");
    return TextSetter{field, std::to_string(json.get<std::int64_t>())}(to);
  }
  Status operator()(double& to) const {
    if (!json.is_number()) return wrong_type(json, "a number");
    to = json.get<double>();
    return {};
  }
  Status operator()(std::string& to) const {
    if (json.is_object() || json.is_array()) return wrong_type(json, "a string");
    to = json.is_string() ? json.get<std::string>() : json.dump();
    return {};
  }
  Status operator()(std::vector<std::string>& to) const {
    std::vector<std::string> values;
    for (const Json& element : json.is_array() ? json : Json::array({json})) {
      std::string value;
      RETURN_IF_ERROR((*this)(value, element));
      values.push_back(std::move(value));
    }
    to = std::move(values);
    return {};
  }
  Status operator()(std::string& to, const Json& element) const {
    return JsonSetter{field, element}(to);
  }
  Status operator()(JsonObject& to) const {
    if (!json.is_object()) return wrong_type(json, "an object");
    to.text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
    return {};
  }
  template <class T>
  Status operator()(std::optional<T>& to) const {
    T value{};
    RETURN_IF_ERROR((*this)(value));
    to = std::move(value);
    return {};
  }
};

template <class T>
void reset_optional(T&) {}
template <class T>
void reset_optional(std::optional<T>& to) {
  to.reset();
}

// Walks `object` along a dotted path, making objects on the way.
Result<Json*> walk(Json& object, std::string_view path) {
  Json* node = &object;
  while (true) {
    const std::size_t dot = path.find('.');
    const std::string key(path.substr(0, dot));
    if (key.empty()) return invalid_argument("the dotted name has an empty part");
    if (node->is_null()) *node = Json::object();
    if (!node->is_object()) return invalid_argument("the part before '" + key + "' is no object");
    node = &(*node)[key];
    if (dot == std::string_view::npos) return node;
    path.remove_prefix(dot + 1);
  }
}

}  // namespace

std::string print_number(double value) {
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof(buffer), value);
  return std::string(buffer, end);
}

Status set_from_text(const Field& field, std::string_view text) {
  RETURN_IF_ERROR(std::visit([&](auto* to) { return TextSetter{field, text}(*to); }, field.value));
  return validate_field(field);
}

Status set_from_json(const Field& field, std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return invalid_argument("'" + std::string(text) + "' is not JSON");
  if (json.is_null()) {
    std::visit([](auto* to) { reset_optional(*to); }, field.value);
    return {};
  }
  RETURN_IF_ERROR(std::visit([&](auto* to) { return JsonSetter{field, json}(*to); }, field.value));
  return validate_field(field);
}

Status append_text(const Field& field, std::string_view text) {
  if (auto* list = std::get_if<std::vector<std::string>*>(&field.value)) {
    (*list)->emplace_back(text);
  } else if (auto* maybe = std::get_if<std::optional<std::vector<std::string>>*>(&field.value)) {
    if (!**maybe) (*maybe)->emplace();
    (**maybe)->emplace_back(text);
  } else {
    return invalid_argument("is not a list, so nothing can be appended to it");
  }
  return validate_field(field);
}

Status set_json_path(const Field& field,
                     std::string_view path,
                     std::string_view text,
                     bool append) {
  auto* object = std::get_if<JsonObject*>(&field.value);
  CHECK(object != nullptr, "set_json_path needs a JsonObject field");
  Json json = Json::parse((*object)->text, nullptr, false);
  if (!json.is_object()) json = Json::object();
  ASSIGN_OR_RETURN(Json * node, walk(json, path));
  Json value = Json::parse(text, nullptr, false);
  if (value.is_discarded()) value = std::string(text);
  if (append) {
    if (node->is_null()) *node = Json::array();
    if (!node->is_array()) return invalid_argument("is not a list, so nothing can be appended");
    node->push_back(std::move(value));
  } else {
    *node = std::move(value);
  }
  (*object)->text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  return {};
}

}  // namespace braid::config
