// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: what loosely written JSON values mean, as the peer's validator reads them.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

namespace braid::protocol {

struct LooseInteger {
  std::int64_t value = 0;
  bool beyond = false;  // outside of 64 bits; `value` is the nearest
};

// true, 1, 1.0, and texts such as "yes", "on", "t".
std::optional<bool> loose_flag(const nlohmann::ordered_json& value);
// 3, 3.0, true, and texts such as " 3 ", "+3", "1_000", "3.0".
std::optional<LooseInteger> loose_integer(const nlohmann::ordered_json& value);
std::optional<LooseInteger> integer_from(std::string_view text);
// 0.5, true, and texts such as "0.5", "1e3", "nan", "inf".
std::optional<double> loose_number(const nlohmann::ordered_json& value);

}  // namespace braid::protocol
