// SPDX-License-Identifier: Apache-2.0
#include "config/reference.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "config/values.h"

namespace braid::config {
namespace {

constexpr std::size_t kWidth = 100;
constexpr std::size_t kIndent = 34;

std::vector<std::string> groups_of(const Table& table) {
  std::vector<std::string> groups;
  for (const Field& field : table.fields) {
    if (std::find(groups.begin(), groups.end(), field.group) == groups.end()) {
      groups.push_back(field.group);
    }
  }
  return groups;
}

struct TypeName {
  std::string operator()(bool*) const { return ""; }
  std::string operator()(int*) const { return "N"; }
  std::string operator()(std::int64_t*) const { return "N"; }
  std::string operator()(double*) const { return "X"; }
  std::string operator()(std::string*) const { return "TEXT"; }
  std::string operator()(std::vector<std::string>*) const { return "TEXT..."; }
  std::string operator()(JsonObject*) const { return "JSON"; }
  template <class T>
  std::string operator()(std::optional<T>*) const {
    return (*this)(static_cast<T*>(nullptr));
  }
};

std::string placeholder(const Field& field) {
  const Spec& spec = field.spec;
  if (!spec.choices.empty() && spec.choices.size() <= 4) {
    std::string text;
    for (std::string_view choice : spec.choices) {
      if (!choice.empty()) text += (text.empty() ? "" : "|") + std::string(choice);
    }
    if (text.size() <= 28) return text;
  }
  const bool bytes = spec.unit == "bytes";
  return bytes ? "BYTES" : std::visit(TypeName(), field.value);
}

std::string flag_of(const Field& field) {
  std::string text = "--" + field.name;
  if (!field.spec.short_name.empty()) text += ", -" + std::string(field.spec.short_name);
  const std::string value = placeholder(field);
  return value.empty() ? text : text + " " + value;
}

std::string choices_of(const Field& field) {
  std::string text;
  for (std::string_view choice : field.spec.choices) {
    text += (text.empty() ? "" : ", ") + (choice.empty() ? "\"\"" : std::string(choice));
  }
  return text;
}

std::string range_of(const Spec& spec) {
  if (spec.min && spec.max) return print_number(*spec.min) + " to " + print_number(*spec.max);
  if (spec.min) return "at least " + print_number(*spec.min);
  if (spec.max) return "at most " + print_number(*spec.max);
  return "";
}

std::string with_unit(const Field& field, const std::string& value) {
  const std::string_view unit = field.spec.unit;
  const bool bare = value.find_first_not_of("0123456789.-+e") == std::string::npos;
  return unit.empty() || !bare ? value : value + " " + std::string(unit);
}

// "[default 16 tokens; at least 1]"
std::string remarks_of(const Field& field) {
  std::string text = "[default " + with_unit(field, print_value(field));
  if (const std::string range = range_of(field.spec); !range.empty()) text += "; " + range;
  if (!field.spec.choices.empty() && placeholder(field).find('|') == std::string::npos) {
    text += "; one of " + choices_of(field);
  }
  if (field.spec.human_size) text += "; 4k, 4K and 2GiB are understood";
  if (!field.spec.environment.empty()) text += "; also $" + std::string(field.spec.environment);
  return text + "]";
}

// Words filled into lines of kWidth, each after `indent` blanks.
std::string wrapped(std::string_view text, std::size_t indent) {
  std::string out;
  std::size_t column = kWidth;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string_view word = text.substr(at, end - at);
    at = end + 1;
    if (word.empty()) continue;
    if (column + 1 + word.size() > kWidth) {
      out += (out.empty() ? "" : "\n") + std::string(indent, ' ');
      column = indent;
    } else {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
  }
  return out + "\n";
}

std::string help_entry(const Field& field) {
  std::string head = "  " + flag_of(field);
  const std::string body =
      wrapped(std::string(field.spec.help) + ". " + remarks_of(field), kIndent);
  if (head.size() + 2 > kIndent) return head + "\n" + body;
  head.resize(kIndent, ' ');
  return head + body.substr(kIndent);
}

std::string escaped(std::string_view text) {
  std::string out;
  for (char c : text) out += c == '|' ? std::string("\\|") : std::string(1, c);
  return out;
}

std::string markdown_row(const Field& field) {
  std::string flags = "`--" + field.name + "`";
  if (!field.spec.short_name.empty()) flags += " `-" + std::string(field.spec.short_name) + "`";
  std::string meaning = std::string(field.spec.help) + ".";
  if (const std::string range = range_of(field.spec); !range.empty()) meaning += " Range: " + range + ".";
  if (!field.spec.choices.empty()) meaning += " One of: " + choices_of(field) + ".";
  if (field.spec.human_size) meaning += " Sizes like 4k, 4K, 2GiB are understood.";
  if (!field.spec.environment.empty()) {
    meaning += " Also `" + std::string(field.spec.environment) + "` in the environment.";
  }
  return "| " + flags + " | `" + escaped(with_unit(field, print_value(field))) + "` | " +
         escaped(meaning) + " |\n";
}

}  // namespace

std::string help_of(const Table& table, const HelpText& text) {
  std::string out = "Usage: " + text.usage + "\n\n" + wrapped(text.summary, 0);
  for (const std::string& group : groups_of(table)) {
    out += "\n" + group + "\n";
    for (const Section& section : table.sections) {
      if ("--" + section.name == group && !section.help.empty()) out += wrapped(section.help, 2);
    }
    for (const Field& field : table.fields) {
      if (field.group == group) out += help_entry(field);
    }
  }
  if (!text.footer.empty()) out += "\n" + text.footer + (text.footer.ends_with('\n') ? "" : "\n");
  return out;
}

std::string markdown_of(const Table& table, std::string_view heading, std::string_view text) {
  std::string out = "## " + std::string(heading) + "\n\n";
  if (!text.empty()) out += std::string(text) + "\n\n";
  for (const std::string& group : groups_of(table)) {
    out += "### " + group + "\n\n";
    for (const Section& section : table.sections) {
      if ("--" + section.name == group && !section.help.empty()) out += section.help + "\n\n";
    }
    out += "| flag | default | meaning |\n|---|---|---|\n";
    for (const Field& field : table.fields) {
      if (field.group == group) out += markdown_row(field);
    }
    out += "\n";
  }
  return out;
}

std::string show_values(const Table& table, const Parsed& parsed) {
  std::size_t name_width = 0;
  std::size_t value_width = 0;
  for (const Field& field : table.fields) {
    name_width = std::max(name_width, field.name.size());
    value_width = std::max(value_width, std::min<std::size_t>(print_value(field).size(), 40));
  }
  std::string out;
  for (const Field& field : table.fields) {
    std::string name = field.name;
    std::string value = print_value(field);
    name.resize(name_width, ' ');
    if (value.size() < value_width) value.resize(value_width, ' ');
    out += name + "  " + value + "  " + describe_origin(parsed.origin(field.name)) + "\n";
  }
  return out;
}

std::string show_values_json(const Table& table, const Parsed& parsed) {
  constexpr const char* kSources[] = {"default", "file", "environment", "flag"};
  nlohmann::ordered_json out = nlohmann::ordered_json::object();
  for (const Field& field : table.fields) {
    const Origin origin = parsed.origin(field.name);
    out[field.name] = {{"value", print_value(field)},
                       {"source", kSources[static_cast<int>(origin.source)]},
                       {"detail", origin.detail}};
  }
  return out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace braid::config
