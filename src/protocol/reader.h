// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: reads the fields of a JSON object and keeps the first error.
#pragma once

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/result.h"

namespace braid::protocol {

using Json = nlohmann::ordered_json;

class Reader {
 public:
  explicit Reader(const Json& json) : json_(json) {}

  const Json* find(const char* key) const {
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }
  void fail(const std::string& param, const std::string& what) {
    if (!error_) error_ = invalid_argument(param + ": " + what, param);
  }
  void read(const char* key, bool& to) {
    if (const Json* v = find(key)) v->is_boolean() ? void(to = v->get<bool>()) : fail(key, "expected true or false, found " + v->dump());
  }
  void read(const char* key, std::string& to) {
    if (const Json* v = find(key)) v->is_string() ? void(to = v->get<std::string>()) : fail(key, "expected text, found " + v->dump());
  }
  void read(const char* key, float& to, double low, double high) {
    const Json* v = find(key);
    if (!v) return;
    if (!v->is_number() || !(v->get<double>() >= low && v->get<double>() <= high)) {
      return fail(key, "expected a number between " + Json(low).dump() + " and " + Json(high).dump() + ", found " + v->dump());
    }
    to = v->get<float>();
  }
  template <class Integer>
  void read(const char* key, Integer& to, std::int64_t low, std::int64_t high) {
    const Json* v = find(key);
    if (!v) return;
    const auto value = whole(*v);
    if (!value || *value < low || *value > high) {
      return fail(key, "expected an integer between " + std::to_string(low) + " and " + std::to_string(high) + ", found " + v->dump());
    }
    to = static_cast<Integer>(*value);
  }
  template <class Integer>
  void read(const char* key, std::optional<Integer>& to, std::int64_t low, std::int64_t high) {
    if (!find(key)) return;
    Integer value{};
    read(key, value, low, high);
    to = value;
  }
  void read(const char* key, std::vector<std::int32_t>& to) {
    const Json* v = find(key);
    if (!v) return;
    if (!v->is_array()) return fail(key, "expected a list of token ids");
    for (const auto& id : *v) {
      if (!id.is_number_integer() || id.get<std::int64_t>() < 0 || id.get<std::int64_t>() > INT32_MAX) {
        return fail(key, "expected token ids, found " + id.dump());
      }
      to.push_back(id.get<std::int32_t>());
    }
  }
  void read(const char* key, std::vector<std::string>& to) {
    const Json* v = find(key);
    if (!v) return;
    if (v->is_string()) return to.push_back(v->get<std::string>());
    if (!v->is_array()) return fail(key, "expected text or a list of texts");
    for (const auto& item : *v) {
      if (!item.is_string()) return fail(key, "expected texts, found " + item.dump());
      to.push_back(item.get<std::string>());
    }
  }
  void read_json(const char* key, std::string& to) {
    if (const Json* v = find(key)) to = v->dump();
  }
  const std::optional<Error>& error() const { return error_; }
  const Json& json() const { return json_; }

 private:
  // 5, -5 or 5.0 as an integer; nothing when it is none or does not fit.
  static std::optional<std::int64_t> whole(const Json& v) {
    if (v.is_number_unsigned() && v.get<std::uint64_t>() > INT64_MAX) return std::nullopt;
    if (v.is_number_integer()) return v.get<std::int64_t>();
    const double value = v.is_number_float() ? v.get<double>() : 0.5;
    const bool fits = std::floor(value) == value && value >= -0x1p63 && value < 0x1p63;
    return fits ? std::optional(static_cast<std::int64_t>(value)) : std::nullopt;
  }

  const Json& json_;
  std::optional<Error> error_;
};

}  // namespace braid::protocol
