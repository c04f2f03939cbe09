// SPDX-License-Identifier: Apache-2.0
#include "serve/stop_strings.h"

#include <algorithm>
#include <utility>

namespace braid::serve {

std::string StopStrings::append(const std::string& text) {
  if (found_) return {};
  if (stops_.empty()) return text;
  held_ += text;
  std::size_t first = std::string::npos;
  for (const auto& stop : stops_) {
    const std::size_t at = held_.find(stop);
    if (at < first) {
      first = at;
      found_ = stop;
    }
  }
  if (found_) return held_.substr(0, first + (include_ ? found_->size() : 0));
  std::size_t keep = 0;
  for (const auto& stop : stops_) {
    for (std::size_t n = std::min(stop.size() - 1, held_.size()); n > keep; --n) {
      if (held_.compare(held_.size() - n, n, stop, 0, n) == 0) keep = n;
    }
  }
  std::string certain = held_.substr(0, held_.size() - keep);
  held_.erase(0, certain.size());
  return certain;
}

std::string StopStrings::finish() {
  if (found_) return {};
  return std::exchange(held_, {});
}

}  // namespace braid::serve
