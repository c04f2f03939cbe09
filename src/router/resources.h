// SPDX-License-Identifier: Apache-2.0
// Objectives and model rewrites, which Kubernetes keeps as resources, read from YAML: further
// documents of the configuration file, or files of their own.
//
//   kind: InferenceObjective       metadata: {name}  spec: {priority}
//   kind: InferenceModelRewrite    metadata: {name}  spec: {rules: [{matches, targets}]}
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace braid::router {

struct RewriteTarget {
  std::string model;
  int weight = 0;  // 0: no weights given, all alike
};

struct RewriteRule {
  std::string name;                 // "<resource>[<index>]"
  std::vector<std::string> models;  // exact names; empty: any
  std::vector<RewriteTarget> targets;
};

struct Resources {
  std::map<std::string, int, std::less<>> objectives;  // name -> priority
  std::vector<RewriteRule> rewrites;                   // older resources first

  // The rule for a model: an exact match before one for any; of several the first. Null: none.
  const RewriteRule* rule_for(std::string_view model) const;
};

// A target of the rule, by weight; `random` is uniform over all 64-bit numbers.
const RewriteTarget& choose_target(const RewriteRule& rule, std::uint64_t random);

// Adds the resources among the documents of `yaml`; documents of other kinds are left out.
Status add_resources(Resources& resources, const std::string& yaml, const std::string& file);

}  // namespace braid::router
