// SPDX-License-Identifier: Apache-2.0
// Computes the grammar masks of a step beside its forward pass: one thread of its own begins with the
// first sequence, and who waits for the rest helps.
// Thread rules: start() and finish() on one thread, in turns. Between them nobody else touches the samplers.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "sample/row_sampler.h"

namespace braid::sample {

class MaskAhead {
 public:
  struct Job {
    RowSampler* sampler = nullptr;
    std::span<const std::int32_t> drafts;  // tokens that may come first, as RowSampler::prepare takes them
  };

  // `vocabulary`: columns of the logits.
  explicit MaskAhead(std::int32_t vocabulary);
  ~MaskAhead();

  // What `jobs` point to lives until finish() returns.
  void start(std::vector<Job> jobs);
  void finish();

 private:
  void work();
  void work_off();

  const std::int32_t vocabulary_;
  std::vector<Job> jobs_;
  std::atomic<std::size_t> next_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t round_ = 0;  // of jobs
  bool busy_ = false;        // the thread is at them
  bool over_ = false;
  std::thread thread_;
};

}  // namespace braid::sample
