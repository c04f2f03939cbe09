// SPDX-License-Identifier: Apache-2.0
// What an answer tells of itself, read from its bytes as they pass: how many tokens it has brought so
// far, and its usage at the end.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace braid::gateway {

struct Usage {
  std::int64_t prompt_tokens = 0;  // 0: not told
  std::int64_t output_tokens = 0;
  std::int64_t cached_tokens = 0;
};

class UsageReader {
 public:
  // Counts the events that begin in `bytes`, each taken for one token.
  std::int64_t feed(std::string_view bytes);
  // Of the last usage in what has come, which is looked for in the last 2 KiB.
  Usage usage() const;

 private:
  std::string tail_;
};

}  // namespace braid::gateway
