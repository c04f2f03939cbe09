// SPDX-License-Identifier: Apache-2.0
// A membership of ranks that are threads: groups are announced by hand.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "engine/membership.h"

namespace braid::engine::testing {

class LocalMembership final : public Membership {
 public:
  void announce(fabric::Bootstrap& group) {
    std::function<void()> tell;
    {
      std::lock_guard lock(mutex_);
      next_ = &group;
      tell = on_change_;
    }
    changed_.notify_all();
    if (tell) tell();
  }
  bool changed() const override {
    std::lock_guard lock(mutex_);
    return next_ != nullptr;
  }
  Result<fabric::Bootstrap*> next(Duration patience) override {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, patience, [&] { return closed_ || next_; });
    if (closed_ || !next_) return Error{ErrorCode::kUnavailable, "no group was announced", {}};
    return std::exchange(next_, nullptr);
  }
  void formed(const Status& status) override {
    formed_ += status.ok();
    formed_.notify_all();
  }
  // Before it the bootstrap belongs to whoever forms the group.
  void wait_for_group() const { formed_.wait(0); }
  void notify(std::function<void()> on_change) override {
    std::lock_guard lock(mutex_);
    on_change_ = std::move(on_change);
  }
  void close() override {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    changed_.notify_all();
  }
  int groups() const { return formed_; }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  fabric::Bootstrap* next_ = nullptr;
  std::function<void()> on_change_;
  bool closed_ = false;
  std::atomic<int> formed_{0};
};

}  // namespace braid::engine::testing
