// SPDX-License-Identifier: Apache-2.0
// What people read about settings: --help, `braid config`, docs/reference/config.md.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/field.h"
#include "config/parse.h"

namespace braid::config {

struct HelpText {
  std::string usage;    // "braid serve MODEL [flags]"
  std::string summary;  // what the command does, one paragraph
  std::string footer;   // examples
};

// --help: usage, summary, then every flag by group with its default and range; 100 columns.
std::string help_of(const Table& table, const HelpText& text);

// One Markdown section: heading, paragraph and a table a group.
std::string markdown_of(const Table& table, std::string_view heading, std::string_view text);

// Every value with its source, aligned; one line a field.
std::string show_values(const Table& table, const Parsed& parsed);

// The same as one JSON object {"name": {"value": ..., "source": "flag", "detail": "--port"}}.
std::string show_values_json(const Table& table, const Parsed& parsed);

template <class Settings>
std::string help(const HelpText& text) {
  Settings settings;
  return help_of(table_of(settings), text);
}

template <class Settings>
std::string markdown(std::string_view heading, std::string_view text) {
  Settings settings;
  return markdown_of(table_of(settings), heading, text);
}

}  // namespace braid::config
