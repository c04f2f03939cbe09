// SPDX-License-Identifier: Apache-2.0
#include "app/expert_loads.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

namespace braid::app {
namespace {

using Json = nlohmann::json;

std::optional<int> number(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_number_integer() ? std::optional(found->get<int>()) : std::nullopt;
}

Result<ExpertLoads> from_json(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  const auto layers = json.is_object() ? json.find("loads") : json.end();
  const auto is_row = [](const Json& row) { return row.is_array() && std::all_of(row.begin(), row.end(), [](const Json& n) { return n.is_number(); }); };
  if (!json.is_object() || layers == json.end() || !layers->is_array() || !std::all_of(layers->begin(), layers->end(), is_row)) {
    return invalid_argument("expert loads: expected {\"loads\": [[numbers of a layer], ...]}");
  }
  return ExpertLoads{layers->get<std::vector<std::vector<double>>>(), number(json, "ranks"), number(json, "redundant"),
                     number(json, "groups"), number(json, "nodes")};
}

Result<ExpertLoads> from_csv(const std::string& text) {
  ExpertLoads loads;
  std::istringstream lines(text);
  std::string line;
  for (int at = 1; std::getline(lines, line); ++at) {
    std::replace(line.begin(), line.end(), ',', ' ');
    std::istringstream words(line);
    std::vector<double> layer;
    for (std::string word; words >> word;) {
      char* end = nullptr;
      layer.push_back(std::strtod(word.c_str(), &end));
      if (*end != '\0') return invalid_argument("expert loads: line " + std::to_string(at) + " has '" + word + "' where a number should be");
    }
    if (!layer.empty()) loads.layers.push_back(std::move(layer));
  }
  return loads;
}

}  // namespace

Result<ExpertLoads> parse_expert_loads(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  const bool json = first != std::string::npos && (text[first] == '{' || text[first] == '[');
  ASSIGN_OR_RETURN(ExpertLoads loads, json ? from_json(text) : from_csv(text));
  if (loads.layers.empty() || loads.layers.front().empty()) return invalid_argument("expert loads: there is no layer; give a line or list for each");
  for (std::size_t i = 0; i < loads.layers.size(); ++i) {
    const auto& layer = loads.layers[i];
    if (layer.size() != loads.layers.front().size()) {
      return invalid_argument("expert loads: layer " + std::to_string(i) + " has " + std::to_string(layer.size()) + " experts, layer 0 has " +
                              std::to_string(loads.layers.front().size()) + "; all need the same number");
    }
    if (!std::all_of(layer.begin(), layer.end(), [](double l) { return std::isfinite(l) && l >= 0; })) {
      return invalid_argument("expert loads: layer " + std::to_string(i) + " has a load that is no number from 0 on");
    }
  }
  return loads;
}

ExpertLoads zipf_loads(int layers, int experts, double exponent, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  ExpertLoads loads;
  for (int i = 0; i < layers; ++i) {
    auto& layer = loads.layers.emplace_back();
    for (int e = 0; e < experts; ++e) layer.push_back(1e6 / std::pow(e + 1, exponent));
    for (std::size_t n = layer.size(); n > 1; --n) std::swap(layer[n - 1], layer[random() % n]);
  }
  return loads;
}

}  // namespace braid::app
