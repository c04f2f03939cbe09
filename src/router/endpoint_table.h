// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: which slot stands for which endpoint name.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "router/plugin.h"

namespace braid::router {

class EndpointTable {
 public:
  // The slot of a name, taken if it has none.
  Slot slot(std::string_view name) {
    const auto found = slots_.find(name);
    if (found != slots_.end()) return found->second;
    Slot slot = static_cast<Slot>(slots_.size() + free_.size());
    if (!free_.empty()) {
      slot = free_.back();
      free_.pop_back();
    }
    slots_.emplace(name, slot);
    return slot;
  }
  Slot find(std::string_view name) const {
    const auto found = slots_.find(name);
    return found == slots_.end() ? kNoSlot : found->second;
  }
  // visit(name, slot) of all, in any order.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const auto& [name, slot] : slots_) visit(name, slot);
  }
  void remove(std::string_view name) {
    const auto found = slots_.find(name);
    if (found == slots_.end()) return;
    free_.push_back(found->second);
    slots_.erase(found);
  }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  std::unordered_map<std::string, Slot, Hash, std::equal_to<>> slots_;
  std::vector<Slot> free_;
};

}  // namespace braid::router
