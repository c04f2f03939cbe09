// SPDX-License-Identifier: Apache-2.0
// Answers that wait for something that may outlast the HTTP server.
// Thread safety: every method from any thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "serve/reply.h"

namespace braid::serve {

class WaitingAnswers {
 public:
  using Writer = std::shared_ptr<Reply>;

  // Keeps the writer until take() or close().
  std::uint64_t keep(Writer writer) {
    std::lock_guard lock(mutex_);
    if (!closed_) writers_[++last_] = std::move(writer);
    return last_;
  }
  // Calls `answer` with the writer that was kept, if it still is.
  void take(std::uint64_t ticket, const std::function<void(const Writer&)>& answer) {
    std::lock_guard lock(mutex_);
    const auto found = writers_.find(ticket);
    if (found == writers_.end()) return;
    answer(found->second);
    writers_.erase(found);
  }
  // Before the server ends: drops all writers, which closes their requests.
  void close() {
    std::lock_guard lock(mutex_);
    closed_ = true;
    writers_.clear();
  }

 private:
  std::mutex mutex_;
  std::map<std::uint64_t, Writer> writers_;
  std::uint64_t last_ = 0;
  bool closed_ = false;
};

}  // namespace braid::serve
