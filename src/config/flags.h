// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: the words of a command line, recognised but not yet applied.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "config/field.h"
#include "config/parse.h"

namespace braid::config {

// One flag with its words.
struct FlagUse {
  const Field* field = nullptr;      // null: a section given as JSON
  const Section* section = nullptr;  // set when field is null
  std::string typed;                 // as the user wrote it, without "=value"
  std::string json_path;             // inside a JsonObject: "rope_scaling.factor"
  bool append = false;
  std::vector<std::string> values;
};

struct CommandLine {
  std::vector<FlagUse> uses;
  std::vector<std::string> words;  // those that belong to no flag
  std::vector<std::string> config_files;
  bool help = false;
};

Result<CommandLine> read_command_line(const Table& table,
                                      std::span<const std::string> args,
                                      const ParseOptions& options);

// The error for a name that no field has. `dashes` is put in front of names: "--" or "".
Error unknown_name(const Table& table,
                   std::string_view typed,
                   std::string_view dashes,
                   bool vllm_names);

}  // namespace braid::config
