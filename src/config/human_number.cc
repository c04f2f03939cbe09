// SPDX-License-Identifier: Apache-2.0
#include "config/human_number.h"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>

namespace braid::config {
namespace {

struct Suffix {
  std::string_view text;
  double factor;
};

constexpr double kKi = 1024.0;
constexpr std::array kSuffixes = {
    Suffix{"k", 1e3},         Suffix{"m", 1e6},   Suffix{"g", 1e9},
    Suffix{"t", 1e12},        Suffix{"K", kKi},   Suffix{"M", kKi * kKi},
    Suffix{"G", kKi * kKi * kKi}, Suffix{"T", kKi * kKi * kKi * kKi},
    Suffix{"kB", 1e3},        Suffix{"KB", 1e3},  Suffix{"MB", 1e6},
    Suffix{"GB", 1e9},        Suffix{"TB", 1e12}, Suffix{"KiB", kKi},
    Suffix{"MiB", kKi * kKi}, Suffix{"GiB", kKi * kKi * kKi},
    Suffix{"TiB", kKi * kKi * kKi * kKi},
};

Error not_a_number(std::string_view text) {
  return invalid_argument("'" + std::string(text) +
                          "' is not a whole number such as 4096, 4k (4000), 4K (4096) or 2GiB");
}

}  // namespace

Result<std::int64_t> parse_human_number(std::string_view text) {
  const std::size_t end = text.find_first_not_of("+-0123456789.");
  const std::string_view digits = text.substr(0, end);
  std::string_view suffix = end == std::string_view::npos ? "" : text.substr(end);
  if (suffix.starts_with(' ')) suffix.remove_prefix(1);
  if (suffix.empty()) {
    std::int64_t value = 0;
    const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc() || rest != digits.data() + digits.size()) return not_a_number(text);
    return value;
  }
  double value = 0;
  const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || rest != digits.data() + digits.size()) return not_a_number(text);
  for (const Suffix& known : kSuffixes) {
    if (known.text != suffix) continue;
    const double scaled = std::round(value * known.factor);
    if (std::abs(scaled) >= 9.2e18) return not_a_number(text);
    return static_cast<std::int64_t>(scaled);
  }
  return not_a_number(text);
}

std::string print_human_bytes(std::int64_t bytes) {
  constexpr std::array kUnits = {Suffix{" TiB", kKi * kKi * kKi * kKi},
                                 Suffix{" GiB", kKi * kKi * kKi},
                                 Suffix{" MiB", kKi * kKi}};
  for (const Suffix& unit : kUnits) {
    const auto factor = static_cast<std::int64_t>(unit.factor);
    if (bytes >= factor && bytes % factor == 0) {
      return std::to_string(bytes / factor) + std::string(unit.text);
    }
  }
  return std::to_string(bytes);
}

}  // namespace braid::config
