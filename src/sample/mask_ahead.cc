// SPDX-License-Identifier: Apache-2.0
#include "sample/mask_ahead.h"

#include <utility>

namespace braid::sample {

MaskAhead::MaskAhead(std::int32_t vocabulary) : vocabulary_(vocabulary), thread_([this] { work(); }) {}

MaskAhead::~MaskAhead() {
  {
    std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void MaskAhead::start(std::vector<Job> jobs) {
  if (jobs.empty()) return;
  {
    std::lock_guard lock(mutex_);
    jobs_ = std::move(jobs);
    next_ = 0;
    ++round_;
  }
  changed_.notify_all();
}

void MaskAhead::finish() {
  if (jobs_.empty()) return;
  work_off();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !busy_; });
  jobs_.clear();
}

void MaskAhead::work_off() {
  for (std::size_t i = next_.fetch_add(1); i < jobs_.size(); i = next_.fetch_add(1)) {
    jobs_[i].sampler->prepare(jobs_[i].drafts, vocabulary_);
  }
}

void MaskAhead::work() {
  std::uint64_t done = 0;
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return over_ || round_ != done; });
    if (over_) return;
    done = round_;
    if (jobs_.empty()) continue;
    busy_ = true;
    lock.unlock();
    work_off();
    lock.lock();
    busy_ = false;
    changed_.notify_all();
  }
}

}  // namespace braid::sample
