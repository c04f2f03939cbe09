// SPDX-License-Identifier: Apache-2.0
// Counts the requests that are being answered, so that a drain can wait for the last of them.
// Thread safety: every method from any thread.
#pragma once

#include <condition_variable>
#include <mutex>

#include "base/clock.h"

namespace braid::serve {

class InFlight {
 public:
  // One request; counted while it exists.
  class Token {
   public:
    explicit Token(InFlight& owner) : owner_(&owner) { owner.change(1); }
    Token(const Token&) = delete;
    Token& operator=(const Token&) = delete;
    ~Token() { owner_->change(-1); }

   private:
    InFlight* const owner_;
  };

  int count() const {
    std::lock_guard lock(mutex_);
    return count_;
  }

  // False when some were left after `timeout`.
  bool wait_for_none(Duration timeout) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, timeout, [&] { return count_ == 0; });
  }

 private:
  void change(int by) {
    std::lock_guard lock(mutex_);
    count_ += by;
    if (count_ == 0) changed_.notify_all();
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

}  // namespace braid::serve
