// SPDX-License-Identifier: Apache-2.0
// The ranks of an expert-parallel group step together: before each step they agree by one small
// message on what it looks like. A rank with nothing to compute takes part, because its experts
// serve the others. When nobody has work all sleep, and the first that gets some wakes the rest.
// Thread rules: one thread, except wake().
#pragma once

#include <functional>
#include <memory>

#include "fabric/group.h"

namespace braid::engine {

// What one rank brings to a step.
struct StepMessage {
  std::int64_t tokens = 0;
  std::uint64_t staged = 0;  // moe::Rebalancer::staged() and maps(); 0 without
  std::uint64_t maps = 0;
  bool wants_overlap = false;  // two micro-batches
};

// What all of them agreed on.
struct Agreement {
  std::int64_t most_tokens = 0;
  std::int64_t all_tokens = 0;
  std::uint64_t staged = 0;  // the least of all
  bool overlap = false;  // all ranks want it
  bool anything() const { return all_tokens > 0; }
};

class Lockstep {
 public:
  // Collective.
  static Result<std::unique_ptr<Lockstep>> create(fabric::Bootstrap& bootstrap, fabric::Transport& transport,
                                                  Duration timeout);

  // Collective: every rank's message of this step. Fails when a peer does not answer in time, and when
  // one believes the experts to be elsewhere than this rank does.
  Result<Agreement> agree(const StepMessage& mine);
  // Another rank has begun a step.
  bool called() const { return messages_->called(); }
  // Sleeps until called(), woken() or `until`.
  void sleep(const std::function<bool()>& woken, TimePoint until) { messages_->sleep(woken, until); }
  // Makes sleep() ask again. From any thread.
  void wake() { messages_->ring(); }
  std::uint64_t steps() const { return messages_->round(); }

 private:
  explicit Lockstep(std::unique_ptr<fabric::AllGather> messages) : messages_(std::move(messages)) {}
  std::unique_ptr<fabric::AllGather> messages_;
};

}  // namespace braid::engine
