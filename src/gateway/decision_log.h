// SPDX-License-Identifier: Apache-2.0
// The newest decisions, for people who ask why a request went where it went.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "router/decision.h"

namespace braid::gateway {

class DecisionLog {
 public:
  explicit DecisionLog(std::size_t capacity) : capacity_(capacity) {}

  // One decision of the request `id`; a request that is tried again has several.
  void add(const std::string& id, std::shared_ptr<const router::Decision> decision);
  // {"id", "decisions": [...]}, oldest first; none: not known, or forgotten.
  std::optional<std::string> json(std::string_view id) const;

 private:
  struct Entry {
    std::string id;
    std::shared_ptr<const router::Decision> decision;
  };
  const std::size_t capacity_;
  std::deque<Entry> entries_;
};

}  // namespace braid::gateway
