// SPDX-License-Identifier: Apache-2.0
// Settings from the command line, configuration files and the environment.
//
//   ServeSettings settings;
//   ASSIGN_OR_RETURN(config::Parsed parsed, config::parse(settings, args, options));
//
// Precedence: default < file < environment < flag. The source of every value is remembered.
//
// Flags
//   --block-size 32, --block-size=32, --block_size 32      dashes and underscores are the same
//   --trust-remote-code, --no-trust-remote-code            booleans; --enable-x and --disable-x too
//   -tp 4                                                  short names
//   --served-model-name a b, --served-model-name '["a"]'   lists take words up to the next flag
//   --served-model-name+ c                                 appends to what is there
//   --eplb-config '{"window_size": 100}'                   a section as JSON
//   --eplb-config.window_size 100                          or one field of it
//   --max-model-len 16k                                    sizes: k = 1000, K = 1024, GiB, ...
//   --config serve.yaml                                    a file with the same names as keys
//   --                                                     ends the flags
// An unknown name is an error that suggests the nearest one; a flag of vLLM that Braid does not
// have is an error that says that.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/field.h"

namespace braid::config {

enum class Source { kDefault, kFile, kEnvironment, kFlag };

struct Origin {
  Source source = Source::kDefault;
  std::string detail;  // the file's path, the variable's name or the flag as typed
};

// "default", "flag --port", "environment BRAID_PORT", "file serve.yaml".
std::string describe_origin(const Origin& origin);

struct ParseOptions {
  // The value of an environment variable, or empty. Null: the environment is not read.
  std::function<std::optional<std::string>(const std::string&)> environment = {};
  std::string environment_prefix = "BRAID_";
  // Turns YAML into JSON. Null: configuration files must be JSON.
  std::function<Result<std::string>(const std::string&)> yaml_to_json = {};
  // The contents of a file. Null: read from disk.
  std::function<Result<std::string>(const std::string&)> read_file = {};
  // Names of the fields that words without a flag set, in order: {"model"}. A word beyond them is
  // an error, unless this is empty: then all words are returned in Parsed::positionals.
  std::vector<std::string> positional_fields = {};
  bool config_files = true;  // accepts --config
  bool vllm_names = true;    // tells a vLLM flag from a misspelt one
};

struct Parsed {
  std::vector<std::string> positionals;
  std::map<std::string, Origin> origins;  // by field name; a field left out has its default
  bool help = false;                      // --help or -h was given; nothing else was looked at

  Origin origin(const std::string& field) const;
};

// Reads into the objects behind `table`. On error they may be partly changed.
Result<Parsed> parse_into(const Table& table, std::span<const std::string> args,
                          const ParseOptions& options);

template <class Settings>
Result<Parsed> parse(Settings& settings, std::span<const std::string> args,
                     const ParseOptions& options = {}) {
  return parse_into(table_of(settings), args, options);
}

Status parse_json_into(const Table& table, std::string_view json);

// Sets fields from the text of a JSON object, as a configuration file would: for plug-in
// parameters that use describe().
template <class Settings>
Status parse_json(Settings& settings, std::string_view json) {
  return parse_json_into(table_of(settings), json);
}

// The real environment.
std::optional<std::string> process_environment(const std::string& name);

}  // namespace braid::config
