// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

#include "config/parse.h"
#include "text/yaml.h"

namespace braid::app {

// How every subcommand reads its words: real environment, YAML files, MODEL as first word.
inline config::ParseOptions parse_options() {
  config::ParseOptions options;
  options.environment = config::process_environment;
  options.yaml_to_json = text::yaml_to_json;
  options.positional_fields = {"model"};
  return options;
}

}  // namespace braid::app
