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
// Thread rules: the engine thread only.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "engine/metrics.h"
#include "engine/request.h"
#include "kv/block_pool.h"
#include "transfer/node.h"

namespace braid::engine {

class Handover {
 public:
  // All outlive it; the node has been started.
  Handover(transfer::Node* node, kv::BlockPool* pool, Metrics* metrics);

  bool lends() const { return node_->lender() != nullptr; }
  // Whether a prompt whose blocks cannot be read is computed instead.
  bool recomputes() const { return node_->settings().recomputes(); }

  // Keeps the blocks of the choice's prompt for a reader. Returns the kv_transfer_params to answer with.
  std::string hold(Choice& choice, TimePoint now);

  // Asks for the prompt of a new choice; false when nobody has it. News of it will come.
  bool ask(Choice& choice);
  // The choice is kFetching and has blocks for tokens that are not computed.
  void read(Choice& choice);
  // What other engines have for the choice is no longer wanted.
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
  void note(const transfer::News& news);

  transfer::Node* const node_;
  kv::BlockPool* const pool_;
  Metrics* const metrics_;
  std::unordered_map<transfer::FetchId, Choice*> choices_;
  std::unordered_map<transfer::FetchId, kv::PageTable> orphans_;  // of ended choices, still written to
};

}  // namespace braid::engine
