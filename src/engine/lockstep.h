// SPDX-License-Identifier: Apache-2.0
// The ranks of an expert-parallel group step together: before each step they agree by one small
// message on what it looks like. A rank with nothing to compute takes part, because its experts
// serve the others. When nobody has work all sleep, and the first that gets some wakes the rest.
//
// When a rank is lost or joins, the others form a new group and do the step again that failed.
// Thread rules: one thread, except wake() and close().
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>

#include "engine/membership.h"
#include "fabric/group.h"

namespace braid::engine {

// What one rank brings to a step.
struct StepMessage {
  std::int64_t tokens = 0;
  std::uint64_t staged = 0;  // moe::Rebalancer::staged() and maps(); 0 without
  std::uint64_t maps = 0;
  bool wants_overlap = false;  // two micro-batches
  bool wants_costs = false;    // it has not measured yet what passes cost
  std::int32_t sequences = 0;
  std::int32_t drafts = 0;     // that it would like to guess for each sequence
};

// What all of them agreed on.
struct Agreement {
  std::int64_t most_tokens = 0;
  std::int64_t all_tokens = 0;
  std::uint64_t staged = 0;  // the least of all
  bool overlap = false;  // all ranks want it
  bool costs = false;    // any rank wants them; all measure
  std::int32_t most_sequences = 0;
  std::int32_t drafts = 0;  // the most that any wants: so often a draft module runs on all
  bool anything() const { return all_tokens > 0; }
};

class Lockstep {
 public:
  // Fits the model to a group. Collective.
  using Rebuild = std::function<Status(fabric::Bootstrap&)>;
  // `membership` and `transport` outlive it. `timeout` bounds the waits inside a step.
  Lockstep(Membership& membership, fabric::Transport& transport, Duration timeout, Rebuild rebuild);
  ~Lockstep();

  // Another group than the present one is to be formed.
  bool changed() const { return membership_.changed(); }
  // Forms it, together with its members.
  Status form();
  // After a step that failed by `cause`: forms the group that takes the place of the broken one. The
  // cause, when it has nothing to do with other ranks or no group is announced in time.
  Status recover(const Error& cause);

  // Collective: every rank's message of this step. Fails when a peer does not answer in time, and when
  // one believes the experts to be elsewhere than this rank does.
  Result<Agreement> agree(const StepMessage& mine);
  // Another rank has begun a step.
  bool called() const { return messages_ && messages_->called(); }
  // Sleeps until called(), changed(), woken() or `until`.
  void sleep(const std::function<bool()>& woken, TimePoint until);
  // Makes sleep() ask again. From any thread.
  void wake();
  // Makes form() and recover() fail from now on. From any thread.
  void close() { membership_.close(); }

 private:
  Status join(fabric::Bootstrap& group);
  Status form_within(Duration patience);

  Membership& membership_;
  fabric::Transport& transport_;
  const Duration timeout_;
  const Rebuild rebuild_;
  std::mutex mutex_;  // against wake()
  std::condition_variable woken_;
  std::uint64_t wakes_ = 0;
  std::shared_ptr<fabric::AllGather> messages_;  // null until the first group
};

}  // namespace braid::engine
