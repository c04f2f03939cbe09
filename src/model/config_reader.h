// SPDX-License-Identifier: Apache-2.0
// What a family's file reads config.json with: keys by name, the first wrong one remembered.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "model/config.h"

namespace braid::model {

// A key that is missing or null takes the fallback, where there is one. A wrong value is remembered in
// error() and something harmless comes back.
class Reader {
 public:
  // `json` is an object and outlives it; `path` is for messages.
  Reader(const nlohmann::json& json, std::string path) : json_(json), path_(std::move(path)) {}

  int positive(const char* key, int most = kLargest) { return whole(key, std::nullopt, 1, most); }
  int count(const char* key, int fallback) { return whole(key, fallback, 0, kLargest); }
  double number(const char* key, std::optional<double> fallback, double low, double high);
  bool flag(const char* key, bool fallback);
  // A flag that some write as a number.
  bool truth(const char* key, bool fallback);
  std::string text(const char* key, const std::string& fallback);
  // Layers by their numbers.
  std::vector<int> numbers(const char* key);
  void fail(const std::string& what);
  // An error if the key is true: the family computes without.
  void refuse(const char* key);

  const std::optional<Error>& error() const { return error_; }
  const nlohmann::json& json() const { return json_; }

 private:
  static constexpr int kLargest = 1 << 30;

  int whole(const char* key, std::optional<double> fallback, int low, int high);
  const nlohmann::json* find(const char* key) const;

  const nlohmann::json& json_;
  std::string path_;
  std::optional<Error> error_;
};

// Heads of grouped-query attention, which turn whole; "num_key_value_heads" and "head_dim" may be missing.
void read_heads(Reader& reader, Config& config);

// Layers from `first` on see "sliding_window" keys, unless "layer_types" has said what each sees.
void read_window(Reader& reader, Config& config, int first);

}  // namespace braid::model
