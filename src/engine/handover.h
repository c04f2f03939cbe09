// SPDX-License-Identifier: Apache-2.0
// What a loop does about blocks that other engines read from it, or have for it. A prompt that another
// engine has computed goes through these states:
//
//   asked     its hold is being taken            state kNew; the scheduler does not know the choice yet
//   granted   it waits for blocks of this cache  state kWaiting
//   reading   they are being filled              state kFetching
//
// and runs from then on like any other. However a choice ends or fails, its hold ends too, and blocks that
// are still being written are given back only when that is over.
//
// On the other side, who asks early is told of a hold as soon as its prompt is scheduled: a promise, whose
// blocks are held from before they are computed, and published after each step. A choice that is preempted
// lets go of them, and its reader of its own, or each of two engines might wait for blocks of the other; it is
// asked again when the prompt has been computed.
// Thread rules: the engine thread only.
#pragma once

#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/admission.h"
#include "engine/metrics.h"
#include "engine/request.h"
#include "engine/scheduler.h"
#include "kv/block_pool.h"
#include "transfer/node.h"

namespace braid::engine {

class Handover {
 public:
  // All outlive it; the node has been started.
  // `by_module`: a draft module has rows of its own in the blocks.
  Handover(transfer::Node* node, kv::BlockPool* pool, Metrics* metrics, bool by_module);

  bool lends() const { return node_->lender() != nullptr; }
  // Whether a prompt whose blocks cannot be read is computed instead.
  bool recomputes() const { return node_->settings().recomputes(); }

  // Keeps the blocks of the choice's prompt for a reader. Returns the kv_transfer_params to answer with; "" where
  // what was promised is no longer wanted.
  std::string hold(Choice& choice, TimePoint now);

  // What is planned is about to be computed. Returns the kv_transfer_params to tell now to those who have asked for
  // them early.
  std::vector<std::pair<Choice*, std::string>> promise(const StepPlan& plan);
  // What has been computed of promises can be read.
  void publish();
  // The choice has lost its blocks.
  void rewind(Choice& choice);

  // Asks for the prompt of a new choice; false when nobody has it. News of it will come.
  bool ask(Choice& choice);
  // Whether a choice begins with the token that the news tell or will tell.
  bool brings_first(const Choice& choice, const transfer::News& news, const Vocabulary& vocabulary) const;
  // The choice is kFetching and has blocks for tokens that are not computed.
  void read(Choice& choice);
  // What other engines have for the choice is no longer wanted, nor what it promised.
  void abandon(Choice& choice);

  struct Arrival {
    Choice* choice = nullptr;
    transfer::News news;
  };
  // Gives blocks back that nobody needs any longer. Returns the news of choices.
  std::vector<Arrival> turn(TimePoint now);

  int holds() const { return lends() ? node_->lender()->holds() : 0; }
  // Choices that wait for other engines, and holds: 0 when everything has ended.
  std::size_t pending() const { return choices_.size() + orphans_.size() + static_cast<std::size_t>(holds()); }
  std::size_t waiting() const { return choices_.size(); }

 private:
  struct Promised {
    std::string id;
    std::int32_t blocks = 0;  // held, of each group
  };
  using Promises = std::unordered_map<Choice*, Promised>;

  void note(const transfer::News& news);
  std::string promise(Choice& choice, std::int32_t end);
  std::vector<kv::BlockId> acquire(const Choice& choice, std::int32_t first, std::int32_t end);
  bool extend(Promises::iterator promise, std::int32_t tokens);
  std::string fulfil(Choice& choice, TimePoint now);

  transfer::Node* const node_;
  kv::BlockPool* const pool_;
  Metrics* const metrics_;
  const bool by_module_;
  Promises promises_;
  std::unordered_map<transfer::FetchId, Choice*> choices_;
  std::unordered_map<transfer::FetchId, kv::PageTable> orphans_;  // of ended choices, still written to
};

}  // namespace braid::engine
