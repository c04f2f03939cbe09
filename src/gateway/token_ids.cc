// SPDX-License-Identifier: Apache-2.0
#include "gateway/token_ids.h"

#include <charconv>

namespace braid::gateway {

std::vector<std::int32_t> token_ids_in(std::string_view answer) {
  constexpr std::string_view kName = "\"token_ids\"";
  std::vector<std::int32_t> ids;
  std::size_t at = answer.find(kName);
  if (at == answer.npos) return ids;
  at = answer.find_first_not_of(": \n", at + kName.size());
  if (at == answer.npos || answer[at] != '[') return ids;
  const char* next = answer.data() + at + 1;
  const char* const end = answer.data() + answer.size();
  while (next < end && *next != ']') {
    std::int32_t id = 0;
    const auto [stop, error] = std::from_chars(next, end, id);
    if (error == std::errc()) ids.push_back(id);
    next = error == std::errc() ? stop : next + 1;
  }
  return ids;
}

}  // namespace braid::gateway
