// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <span>
#include <sstream>
#include <string>
#include <vector>

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

// "1,8,64" given for --name.
inline Result<std::vector<int>> number_list(const std::string& name, const std::string& text) {
  std::vector<int> numbers;
  std::istringstream in(text);
  for (std::string word; std::getline(in, word, ',');) {
    numbers.push_back(std::atoi(word.c_str()));
    if (numbers.back() < 1 || numbers.back() > 65536) {
      return invalid_argument("--" + name + ": expected numbers like 1,8,64, found '" + text + "'", name);
    }
  }
  return numbers;
}

}  // namespace braid::app
