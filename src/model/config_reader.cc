// SPDX-License-Identifier: Apache-2.0
#include "model/config_reader.h"

#include <cmath>

namespace braid::model {

using Json = nlohmann::json;

const Json* Reader::find(const char* key) const {
  const auto found = json_.find(key);
  return found == json_.end() || found->is_null() ? nullptr : &*found;
}

double Reader::number(const char* key, std::optional<double> fallback, double low, double high) {
  const Json* found = find(key);
  if (!found) {
    if (!fallback) fail(std::string(key) + " is missing");
    return fallback.value_or(low);
  }
  if (!found->is_number() || found->get<double>() < low || found->get<double>() > high) {
    fail(std::string(key) + ": expected a number from " + Json(low).dump() + " to " + Json(high).dump() + ", found " + found->dump());
    return low;
  }
  return found->get<double>();
}

bool Reader::flag(const char* key, bool fallback) {
  const Json* found = find(key);
  if (!found) return fallback;
  if (!found->is_boolean()) fail(std::string(key) + ": expected true or false, found " + found->dump());
  return found->is_boolean() ? found->get<bool>() : fallback;
}

bool Reader::truth(const char* key, bool fallback) {
  const Json* found = find(key);
  return found && found->is_number() ? found->get<double>() != 0 : flag(key, fallback);
}

std::string Reader::text(const char* key, const std::string& fallback) {
  const Json* found = find(key);
  if (!found) return fallback;
  if (!found->is_string()) fail(std::string(key) + ": expected text, found " + found->dump());
  return found->is_string() ? found->get<std::string>() : fallback;
}

std::vector<int> Reader::numbers(const char* key) {
  std::vector<int> all;
  const Json* found = find(key);
  if (!found) return all;
  if (!found->is_array()) fail(std::string(key) + ": expected a list of numbers, found " + found->dump());
  for (const auto& number : *found) {
    if (number.is_number_integer()) all.push_back(number.get<int>());
    else fail(std::string(key) + ": expected a list of numbers, found " + found->dump());
  }
  return all;
}

void Reader::fail(const std::string& what) {
  if (!error_) error_ = invalid_argument(path_ + ": " + what);
}

void Reader::refuse(const char* key) {
  if (flag(key, false)) fail(std::string(key) + ": true is not supported");
}

int Reader::whole(const char* key, std::optional<double> fallback, int low, int high) {
  const double value = number(key, fallback, low, high);
  if (value != std::floor(value)) fail(std::string(key) + ": expected a whole number, found " + Json(value).dump());
  return static_cast<int>(value);
}

void read_heads(Reader& r, Config& c) {
  c.kv_heads = r.count("num_key_value_heads", c.heads);
  c.head_dim = r.count("head_dim", c.heads > 0 ? c.hidden / c.heads : 0);
  c.rope_dim = c.head_dim;
  if (c.kv_heads <= 0 || c.heads % c.kv_heads != 0) r.fail("num_key_value_heads must divide num_attention_heads");
  if (c.head_dim <= 0 || c.head_dim % 2 != 0) r.fail("head_dim must be even and positive");
}

void read_window(Reader& r, Config& c, int first) {
  if (!c.spans.empty()) return;
  c.sliding_window = r.positive("sliding_window");
  for (int layer = 0; layer < c.layers; ++layer) c.spans.push_back(layer < first ? LayerSpan::kFull : LayerSpan::kWindow);
}

}  // namespace braid::model
