// SPDX-License-Identifier: Apache-2.0
#include "serve/response_store.h"

#include <utility>

namespace braid::serve {

void ResponseStore::put(const std::string& id, StoredResponse response) {
  std::lock_guard lock(mutex_);
  const std::size_t size = size_of(response);
  if (size > most_bytes_ || !responses_.emplace(id, std::move(response)).second) return;
  bytes_ += size;
  order_.push_back(id);
  while (bytes_ > most_bytes_) {
    if (const auto oldest = responses_.find(order_.front()); oldest != responses_.end()) {
      bytes_ -= size_of(oldest->second);
      responses_.erase(oldest);
    }
    order_.pop_front();
  }
}

std::optional<StoredResponse> ResponseStore::find(const std::string& id) const {
  std::lock_guard lock(mutex_);
  const auto found = responses_.find(id);
  if (found == responses_.end()) return std::nullopt;
  return found->second;
}

bool ResponseStore::remove(const std::string& id) {
  std::lock_guard lock(mutex_);
  const auto found = responses_.find(id);
  if (found == responses_.end()) return false;
  bytes_ -= size_of(found->second);
  responses_.erase(found);
  return true;
}

}  // namespace braid::serve
