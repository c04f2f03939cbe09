// SPDX-License-Identifier: Apache-2.0
#include "serve/response_store.h"

#include <utility>

namespace braid::serve {

void ResponseStore::put(const std::string& id, StoredResponse response) {
  std::lock_guard lock(mutex_);
  const std::size_t size = size_of(response);
  if (size > most_bytes_) return;
  const auto [place, fresh] = responses_.try_emplace(id);
  if (!fresh) bytes_ -= size_of(place->second);
  place->second = std::move(response);
  bytes_ += size;
  if (fresh) order_.push_back(id);
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
