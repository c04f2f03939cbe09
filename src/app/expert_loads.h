// SPDX-License-Identifier: Apache-2.0
// How much work each expert of each layer had, as a file:
//   JSON  {"loads": [[a number an expert], ... a list a layer],
//          "ranks": 2, "redundant": 8, "groups": 1, "nodes": 1}     all but loads may be missing
//   CSV   a line a layer, a number an expert
// The JSON form is what --eplb-config.load-file writes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace braid::app {

struct ExpertLoads {
  std::vector<std::vector<double>> layers;  // [layers][experts]
  std::optional<int> ranks, redundant, groups, nodes;
};

// Errors: a text that is neither form, layers of different lengths, numbers below 0.
Result<ExpertLoads> parse_expert_loads(const std::string& text);

// Loads that fall with the rank in popularity as 1 / rank^exponent; each layer has an order of its own.
ExpertLoads zipf_loads(int layers, int experts, double exponent, std::uint64_t seed);

}  // namespace braid::app
