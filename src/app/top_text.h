// SPDX-License-Identifier: Apache-2.0
// How the lines of `braid top` are written.
#pragma once

#include <algorithm>
#include <cstdio>
#include <string>

namespace braid::app {

constexpr int kBar = 20;

template <class... T>
std::string format(const char* pattern, T... values) {
  char text[256];
  std::snprintf(text, sizeof text, pattern, values...);
  return text;
}

inline std::string bar(double share) {
  const auto full = static_cast<std::size_t>(std::clamp(share, 0.0, 1.0) * kBar + 0.5);
  return "[" + std::string(full, '#') + std::string(kBar - full, ' ') + "]";
}

}  // namespace braid::app
