// SPDX-License-Identifier: Apache-2.0
#include "protocol/loose.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string>

namespace braid::protocol {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kLeast = INT64_MIN, kMost = INT64_MAX;

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\n\v\f\r";
  const std::size_t first = text.find_first_not_of(kBlank);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

// Without blanks around, one plus sign, and underscores between characters; empty if that fails.
std::string plain(std::string_view text) {
  text = trimmed(text);
  if (text.starts_with('+')) text.remove_prefix(1);
  if (text.starts_with('+') || text.starts_with('_') || text.ends_with('_') || text.find("__") != text.npos) return {};
  std::string out(text);
  std::erase(out, '_');
  return out;
}

}  // namespace

std::optional<bool> loose_flag(const Json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number()) {
    const auto number = value.get<double>();
    if (number == 0 || number == 1) return number == 1;
  }
  if (!value.is_string()) return std::nullopt;
  std::string text = value.get<std::string>();
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  constexpr std::array<std::string_view, 6> kYes = {"1", "on", "t", "true", "y", "yes"};
  constexpr std::array<std::string_view, 6> kNo = {"0", "off", "f", "false", "n", "no"};
  if (std::find(kYes.begin(), kYes.end(), text) != kYes.end()) return true;
  if (std::find(kNo.begin(), kNo.end(), text) != kNo.end()) return false;
  return std::nullopt;
}

std::optional<LooseInteger> loose_integer(const Json& value) {
  if (value.is_boolean()) return LooseInteger{value.get<bool>() ? 1 : 0};
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(kMost)) return LooseInteger{kMost, true};
  if (value.is_number_integer()) return LooseInteger{value.get<std::int64_t>()};
  if (value.is_number_float()) {
    const auto number = value.get<double>();
    if (std::trunc(number) != number || !(std::abs(number) < 0x1p63)) return std::nullopt;
    return LooseInteger{static_cast<std::int64_t>(number)};
  }
  return value.is_string() ? integer_from(value.get_ref<const std::string&>()) : std::nullopt;
}

std::optional<LooseInteger> integer_from(std::string_view text) {
  std::string digits = plain(text);
  if (const std::size_t dot = digits.find('.'); dot != digits.npos) {
    if (digits.find_first_not_of('0', dot + 1) != digits.npos) return std::nullopt;
    digits.resize(dot);
  }
  LooseInteger integer;
  const char* const end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, integer.value);
  if (error == std::errc::invalid_argument || stop != end) return std::nullopt;
  if (error == std::errc::result_out_of_range) return LooseInteger{digits.front() == '-' ? kLeast : kMost, true};
  return integer;
}

std::optional<double> loose_number(const Json& value) {
  if (value.is_boolean()) return value.get<bool>() ? 1.0 : 0.0;
  if (value.is_number()) return value.get<double>();
  if (!value.is_string()) return std::nullopt;
  const std::string text = plain(value.get_ref<const std::string&>());
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error == std::errc::result_out_of_range) return text.front() == '-' ? -HUGE_VAL : HUGE_VAL;
  if (error != std::errc() || stop != end || text.ends_with(')')) return std::nullopt;
  return number;
}

}  // namespace braid::protocol
