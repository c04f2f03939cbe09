// SPDX-License-Identifier: Apache-2.0
// Answers of /v1/responses that later requests may ask for or go on from. Bounded: the oldest go first.
// Thread safety: every method from any thread.
#pragma once

#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

namespace braid::serve {

struct StoredResponse {
  std::string body;      // JSON, as it was answered
  std::string messages;  // JSON, the conversation up to and with it; empty while it is not complete
};

class ResponseStore {
 public:
  explicit ResponseStore(std::size_t most_bytes) : most_bytes_(most_bytes) {}

  // In place of what has this id, if anything has.
  void put(const std::string& id, StoredResponse response);
  std::optional<StoredResponse> find(const std::string& id) const;
  // False when there is none.
  bool remove(const std::string& id);

 private:
  static std::size_t size_of(const StoredResponse& response) { return response.body.size() + response.messages.size(); }

  const std::size_t most_bytes_;
  mutable std::mutex mutex_;
  std::unordered_map<std::string, StoredResponse> responses_;
  std::deque<std::string> order_;  // of arrival; ids that were removed stay until their turn comes
  std::size_t bytes_ = 0;
};

}  // namespace braid::serve
