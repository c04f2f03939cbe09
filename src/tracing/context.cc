// SPDX-License-Identifier: Apache-2.0
#include "tracing/context.h"

#include <algorithm>
#include <cstdint>
#include <random>

namespace braid::tracing {
namespace {

constexpr std::string_view kHex = "0123456789abcdef";
constexpr std::size_t kLength = 55;  // of version 00

bool is_hex(std::string_view text) { return text.find_first_not_of(kHex) == text.npos; }
bool is_id(std::string_view text) { return is_hex(text) && text.find_first_not_of('0') != text.npos; }

std::mt19937_64& random_bits() {
  thread_local std::mt19937_64 random = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  return random;
}

std::string new_id(std::size_t digits) {
  std::string id(digits, '0');
  for (std::size_t i = 0; i < digits; i += 16) {
    std::uint64_t bits = random_bits()() | 1;
    for (std::size_t j = 0; j < 16; ++j, bits >>= 4) id[i + j] = kHex[bits & 15];
  }
  return id;
}

}  // namespace

std::optional<Context> parse_traceparent(std::string_view header) {
  const bool long_enough = header.size() == kLength || (header.size() > kLength && header[kLength] == '-' && !header.starts_with("00"));
  if (!long_enough || header[2] != '-' || header[35] != '-' || header[52] != '-') return std::nullopt;
  const std::string_view version = header.substr(0, 2), trace = header.substr(3, 32), span = header.substr(36, 16), flags = header.substr(53, 2);
  if (!is_hex(version) || version == "ff" || !is_id(trace) || !is_id(span) || !is_hex(flags)) return std::nullopt;
  return Context{std::string(trace), std::string(span), (kHex.find(flags[1]) & 1) != 0};
}

std::string traceparent(const Context& context) {
  return "00-" + context.trace + "-" + context.span + (context.sampled ? "-01" : "-00");
}

Context new_context(const std::optional<Context>& parent, double ratio) {
  if (parent) return {parent->trace, new_id(16), parent->sampled};
  const bool sampled = ratio >= 1 || std::uniform_real_distribution<double>(0, 1)(random_bits()) < ratio;
  return {new_id(32), new_id(16), sampled};
}

}  // namespace braid::tracing
