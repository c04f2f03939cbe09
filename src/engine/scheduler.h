// SPDX-License-Identifier: Apache-2.0
// Decides what the next step computes. Pure bookkeeping: no model, no clock, no threads.
//
// Rules, in order:
//   1. Sequences that decode go first, one token each, and behind it their drafted tokens, as far as
//      budget and free blocks allow when every one has its token. Drafts never cost others a block.
//   2. Then running sequences that still compute their prompt (or recompute after a preemption) take
//      what is left of the token budget, in chunks.
//   3. Then waiting sequences are admitted in order, while the budget, the number of sequences and
//      the free blocks allow: one is admitted only with blocks for all its tokens, reused ones
//      counted. The first that does not fit blocks those behind it. One whose keys and values are to be
//      read from another engine gets its blocks for that, and runs when they are filled.
// When a running sequence finds no block, the last one in order loses all of its blocks, waits again
// and later recomputes; a step that preempts admits nobody. Waiting sequences hold no blocks, so the
// first in order always gets on as long as it fits into the pool at all.
//
// Groups of layers that see only a window or a chunk (kv/layer_groups.h) give back what they see no longer as
// their tokens are computed; it stays in the prefix cache until it is needed. A prefix counts as cached when
// the first group has all of it and every other one what the next token sees. Where there is a host tier
// (kv/host_tier.h), what is there counts too, and is copied back into blocks on admission.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "engine/sequence.h"
#include "kv/block_pool.h"

namespace braid::engine {

struct SchedulerLimits {
  std::int32_t max_batched_tokens = 2048;
  std::int32_t max_sequences = 128;  // running
  std::int32_t max_drafts = 0;       // per sequence
  std::int32_t long_prefill_threshold = 0;
  bool chunked_prefill = true;
  bool prefix_caching = true;
};

// Tokens [first, first + count) of the sequence, and the first `drafts` of its drafts.
struct PlannedWork {
  Sequence* sequence = nullptr;
  std::int32_t first = 0;
  std::int32_t count = 0;
  std::int32_t drafts = 0;
};

struct StepPlan {
  std::vector<PlannedWork> work;
  std::vector<Sequence*> admitted;   // these are in `work` too
  std::vector<Sequence*> preempted;
  std::vector<Sequence*> fetching;   // have got blocks to be read into
  std::int32_t tokens = 0;

  void clear();
};

class Scheduler {
 public:
  // `pool` outlives the scheduler, and so does `log`, which is told what can be found; null: nobody listens.
  Scheduler(const SchedulerLimits& limits, kv::BlockPool* pool, kv::EventLog* log = nullptr);

  // The sequence waits from now on; it stays where it is until removed.
  void add(Sequence& sequence);
  // Finished, cancelled or failed: leaves whatever queue it is in, and its blocks are free.
  void remove(Sequence& sequence);
  // The next step; empty when nothing can run.
  void plan(StepPlan& plan);
  // Its remote tokens have been read: it runs from now on.
  void fetched(Sequence& sequence);
  // It runs, but there is something of it to be computed first: it waits again, with what the cache knows of it.
  void requeue(Sequence& sequence);
  // They are to come later: it has no blocks, and is in no queue. REQUIRES: it is kFetching.
  void withdraw(Sequence& sequence);
  // They cannot be: it waits again, and all of it is computed. Also before it is kFetching.
  void not_fetched(Sequence& sequence);
  // `count` tokens were computed: blocks that became full can be reused from now on.
  void commit(Sequence& sequence, std::int32_t count);
  // Free blocks for `tokens` tokens of a running sequence; false when there are too few.
  bool reserve(Sequence& sequence, std::int32_t tokens) { return sequence.pages.grow(*pool_, tokens); }

  std::size_t waiting() const { return waiting_.size() + fetching_; }
  std::size_t running() const { return running_.size(); }

 private:
  struct Before {
    bool operator()(const Sequence* a, const Sequence* b) const;
  };

  void plan_running(Sequence& sequence, StepPlan& plan);
  bool admit(Sequence& sequence, StepPlan& plan);
  void admit_to_fetch(Sequence& sequence, StepPlan& plan);
  // What is here of a waiting sequence: blocks of each group from where the group begins to block `end`.
  struct Reusable {
    std::int32_t end = 0;
    struct Block {
      int group = 0;
      std::int32_t index = 0;
      kv::BlockId block = kv::kNoBlock;
      kv::HostTier::Slot slot = kv::HostTier::kNoSlot;  // of one to be restored
      bool here() const { return block != kv::kNoBlock; }
      bool anywhere() const { return here() || slot != kv::HostTier::kNoSlot; }
    };
    std::vector<Block> blocks;  // ascending in each group
  };
  Reusable reusable(Sequence& sequence) const;
  std::int32_t reusable_end(Sequence& sequence) const;
  Reusable::Block reusable_block(const Sequence& sequence, int group, std::int32_t index) const;
  void give_blocks(Sequence& sequence, Reusable& reused);
  void restore(Sequence& sequence, Reusable& reused);
  std::int32_t affordable(const Sequence& sequence) const;
  std::int32_t affordable_drafts(Sequence& sequence);
  void name_full_blocks(Sequence& sequence);
  void name_block(const Sequence& sequence, int group, std::int32_t index, kv::BlockId block);
  bool make_room(Sequence& sequence, std::int32_t tokens, StepPlan& plan);
  void preempt(Sequence& victim, StepPlan& plan);
  void schedule(Sequence& sequence, std::int32_t count, std::int32_t drafts, StepPlan& plan);

  SchedulerLimits limits_;
  kv::BlockPool* pool_;
  kv::EventLog* log_;
  std::set<Sequence*, Before> waiting_;
  std::vector<Sequence*> running_;  // in order of admission
  std::size_t fetching_ = 0;
  std::vector<Sequence*> order_;    // a copy to walk while running_ changes
  std::int32_t token_budget_ = 0;
  std::int32_t decode_budget_ = 0;  // rows of generated tokens
  std::int32_t draft_budget_ = 0;
};

}  // namespace braid::engine
