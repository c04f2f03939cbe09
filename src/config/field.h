// SPDX-License-Identifier: Apache-2.0
// A settings struct as a table of fields, made by walking its describe() once. All that reads,
// writes, checks or prints settings works on this table and is not a template.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"
#include "config/describe.h"

namespace braid::config {

using ValueRef = std::variant<bool*,
                              int*,
                              std::int64_t*,
                              double*,
                              std::string*,
                              std::vector<std::string>*,
                              JsonObject*,
                              std::optional<bool>*,
                              std::optional<int>*,
                              std::optional<std::int64_t>*,
                              std::optional<double>*,
                              std::optional<std::string>*,
                              std::optional<std::vector<std::string>>*>;

struct Field {
  std::string name;   // "block-size"; inside a section "eplb-config.window-size"
  std::string group;  // heading in --help and in the reference
  Spec spec;
  ValueRef value;  // points into the settings object; valid as long as that stays in place

  bool is_bool() const;
  bool is_list() const;
  bool is_json() const;
};

struct Section {
  std::string name;
  std::string help;
};

struct Table {
  std::vector<Field> fields;
  std::vector<Section> sections;

  const Field* find(std::string_view name) const;
  const Section* find_section(std::string_view name) const;
};

// "Max_Model-Len" -> "max-model-len" style: underscores become dashes, nothing else changes.
std::string canonical_name(std::string_view name);

// The value as a user would type it; an unset optional is "unset", a set secret is "(hidden)".
std::string print_value(const Field& field);

// Sets the value from one command-line word (flags, environment).
// Errors name the value and what would be accepted, but not the flag: callers add that.
Status set_from_text(const Field& field, std::string_view text);

// Sets the value from JSON text (configuration files, JSON-valued flags).
Status set_from_json(const Field& field, std::string_view json);

// Adds one element to a list.
Status append_text(const Field& field, std::string_view text);

// Inside a JsonObject: sets or appends at a dotted path; the word is JSON if it reads as JSON,
// else a string.
Status set_json_path(const Field& field, std::string_view path, std::string_view text, bool append);

// The value against its Spec (min, max, choices).
Status validate_field(const Field& field);

// Every field against its Spec, and every name used only once.
Status validate_table(const Table& table);

// The visitor that builds a Table.
class TableBuilder {
 public:
  explicit TableBuilder(Table& table, std::string group = "General") : table_(table), group_(group) {}

  template <class T>
  void field(std::string_view name, T& value, const Spec& spec) {
    table_.fields.push_back({prefix_ + std::string(name), group_, spec, ValueRef(&value)});
  }

  template <class Nested>
  void group(std::string_view title, Nested& nested, std::string_view = {}) {
    const std::string outer = std::exchange(group_, std::string(title));
    Nested::describe(nested, *this);
    group_ = outer;
  }

  template <class Nested>
  void section(std::string_view name, Nested& nested, std::string_view help = {}) {
    const std::string path = prefix_ + std::string(name);
    table_.sections.push_back({path, std::string(help)});
    const std::string outer_prefix = std::exchange(prefix_, path + ".");
    const std::string outer_group = std::exchange(group_, "--" + path);
    Nested::describe(nested, *this);
    prefix_ = outer_prefix;
    group_ = outer_group;
  }

 private:
  Table& table_;
  std::string group_;
  std::string prefix_;
};

template <class Settings>
Table table_of(Settings& settings) {
  Table table;
  TableBuilder builder(table);
  Settings::describe(settings, builder);
  return table;
}

// Checks a settings object against its own description.
template <class Settings>
Status validate(Settings& settings) {
  return validate_table(table_of(settings));
}

}  // namespace braid::config
