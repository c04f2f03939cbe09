// SPDX-License-Identifier: Apache-2.0
#include "config/field.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "config/human_number.h"
#include "config/values.h"

namespace braid::config {
namespace {

using Json = nlohmann::json;

template <class T>
struct Unwrapped {
  using type = T;
};
template <class T>
struct Unwrapped<std::optional<T>> {
  using type = T;
};

// Whether the field holds a T or an optional T.
template <class T>
bool holds(const ValueRef& value) {
  return std::visit(
      [](auto* p) {
        return std::is_same_v<typename Unwrapped<std::remove_pointer_t<decltype(p)>>::type, T>;
      },
      value);
}

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text.empty() ? "(none)" : text;
}

Status check_number(const Field& field, double value) {
  const Spec& spec = field.spec;
  if (spec.auto_value && value == static_cast<double>(*spec.auto_value)) return {};
  const bool low = spec.min && !(value >= *spec.min);
  const bool high = spec.max && !(value <= *spec.max);
  if (!low && !high) return {};
  std::string range;
  if (spec.min && spec.max) {
    range = "between " + print_number(*spec.min) + " and " + print_number(*spec.max);
  } else {
    range = spec.min ? "at least " + print_number(*spec.min) : "at most " + print_number(*spec.max);
  }
  return invalid_argument(print_number(value) + " is out of range: it must be " + range);
}

Status check_choice(const Field& field, const std::string& value) {
  const auto& choices = field.spec.choices;
  if (choices.empty() || std::find(choices.begin(), choices.end(), value) != choices.end()) {
    return {};
  }
  std::string list;
  for (std::string_view choice : choices) {
    list += (list.empty() ? "" : ", ") + (choice.empty() ? "\"\"" : std::string(choice));
  }
  return invalid_argument("'" + value + "' is not one of: " + list);
}

struct Validator {
  const Field& field;

  Status operator()(bool) const { return {}; }
  Status operator()(int value) const { return check_number(field, value); }
  Status operator()(std::int64_t value) const {
    return check_number(field, static_cast<double>(value));
  }
  Status operator()(double value) const { return check_number(field, value); }
  Status operator()(const std::string& value) const { return check_choice(field, value); }
  Status operator()(const std::vector<std::string>& values) const {
    for (const std::string& value : values) RETURN_IF_ERROR(check_choice(field, value));
    return {};
  }
  Status operator()(const JsonObject& value) const {
    const Json json = Json::parse(value.text, nullptr, false);
    if (json.is_object()) return {};
    return invalid_argument("'" + value.text + "' is not a JSON object");
  }
  template <class T>
  Status operator()(const std::optional<T>& value) const {
    return value ? (*this)(*value) : Status();
  }
};

struct Printer {
  const Field& field;

  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(int value) const { return (*this)(static_cast<std::int64_t>(value)); }
  std::string operator()(std::int64_t value) const {
    if (field.spec.auto_value == value) return "auto";
    return field.spec.unit == "bytes" ? print_human_bytes(value) : std::to_string(value);
  }
  std::string operator()(double value) const { return print_number(value); }
  std::string operator()(const std::string& value) const {
    if (value.empty()) return "(empty)";
    return field.spec.secret ? "(hidden)" : value;
  }
  std::string operator()(const std::vector<std::string>& values) const {
    return field.spec.secret && !values.empty() ? "(hidden)" : join(values);
  }
  std::string operator()(const JsonObject& value) const { return value.text; }
  template <class T>
  std::string operator()(const std::optional<T>& value) const {
    return value ? (*this)(*value) : "unset";
  }
};

}  // namespace

bool Field::is_bool() const { return holds<bool>(value); }
bool Field::is_list() const { return holds<std::vector<std::string>>(value); }
bool Field::is_json() const { return holds<JsonObject>(value); }

const Field* Table::find(std::string_view name) const {
  for (const Field& field : fields) {
    if (field.name == name) return &field;
  }
  for (const Field& field : fields) {
    const auto& aliases = field.spec.aliases;
    if (std::find(aliases.begin(), aliases.end(), name) != aliases.end()) return &field;
  }
  return nullptr;
}

const Section* Table::find_section(std::string_view name) const {
  for (const Section& section : sections) {
    if (section.name == name) return &section;
  }
  return nullptr;
}

std::string canonical_name(std::string_view name) {
  std::string canonical(name);
  std::replace(canonical.begin(), canonical.end(), '_', '-');
  return canonical;
}

std::string print_value(const Field& field) {
  return std::visit([&](const auto* value) { return Printer{field}(*value); }, field.value);
}

Status validate_field(const Field& field) {
  return std::visit([&](const auto* value) { return Validator{field}(*value); }, field.value);
}

Status validate_table(const Table& table) {
  std::set<std::string> names;
  for (const Field& field : table.fields) {
    if (!names.insert(field.name).second) {
      return internal_error("the setting '" + field.name + "' is described twice");
    }
    if (const Status status = validate_field(field); !status.ok()) {
      Error error = status.error().within("--" + field.name);
      error.param = field.name;
      return error;
    }
  }
  return {};
}

}  // namespace braid::config
