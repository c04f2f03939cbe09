// SPDX-License-Identifier: Apache-2.0
#include "gateway/usage.h"

#include <charconv>

namespace braid::gateway {
namespace {

constexpr std::size_t kKept = 2048;

std::int64_t number_after(std::string_view text, std::string_view name) {
  std::size_t at = text.find(name);
  if (at == text.npos) return 0;
  at = text.find_first_not_of(": ", at + name.size());
  std::int64_t number = 0;
  if (at != text.npos) std::from_chars(text.data() + at, text.data() + text.size(), number);
  return number;
}

}  // namespace

std::int64_t UsageReader::feed(std::string_view bytes) {
  if (bytes.size() >= kKept) {
    tail_ = bytes.substr(bytes.size() - kKept);
  } else {
    if (tail_.size() + bytes.size() > 2 * kKept) tail_.erase(0, tail_.size() - kKept);
    tail_ += bytes;
  }
  std::int64_t events = 0;
  for (std::size_t at = bytes.find("data:"); at != bytes.npos; at = bytes.find("data:", at + 5)) {
    if (at == 0 || bytes[at - 1] == '\n') ++events;
  }
  return events;
}

Usage UsageReader::usage() const {
  const std::size_t at = tail_.rfind("\"usage\"");
  if (at == tail_.npos) return {};
  const std::string_view text = std::string_view(tail_).substr(at);
  Usage usage;
  usage.prompt_tokens = number_after(text, "\"prompt_tokens\"");
  usage.output_tokens = number_after(text, "\"completion_tokens\"");
  if (usage.prompt_tokens == 0) usage.prompt_tokens = number_after(text, "\"input_tokens\"");
  if (usage.output_tokens == 0) usage.output_tokens = number_after(text, "\"output_tokens\"");
  usage.cached_tokens = number_after(text, "\"cached_tokens\"");
  return usage;
}

}  // namespace braid::gateway
