// SPDX-License-Identifier: Apache-2.0
#include "gateway/decision_log.h"

#include <utility>

#include "protocol/json_text.h"

namespace braid::gateway {

void DecisionLog::add(const std::string& id, std::shared_ptr<const router::Decision> decision) {
  if (capacity_ == 0) return;
  if (entries_.size() == capacity_) entries_.pop_front();
  entries_.push_back({id, std::move(decision)});
}

std::optional<std::string> DecisionLog::json(std::string_view id) const {
  std::string list;
  for (const Entry& entry : entries_) {
    if (entry.id == id) list.append(list.empty() ? "" : ",").append(router::to_json(*entry.decision));
  }
  if (list.empty()) return std::nullopt;
  return "{\"id\":" + protocol::json_string(id) + ",\"decisions\":[" + list + "]}";
}

}  // namespace braid::gateway
