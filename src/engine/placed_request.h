// SPDX-License-Identifier: Apache-2.0
// A request that a BalancedEngine has given to a rank: stands between that rank and the subscriber,
// and remembers enough to give the request to another one.
// Thread safety: every method from any thread.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/engine.h"

namespace braid::engine {

class PlacedRequest final : public Subscriber, public std::enable_shared_from_this<PlacedRequest> {
 public:
  // `charge` is told changes of the work that the request still is to a rank, in prompt tokens and
  // tokens to be generated; `ended` is called when nothing more will come.
  using Charge = std::function<void(int rank, std::int64_t prompt, std::int64_t generation)>;
  PlacedRequest(RequestId id, SubmitMessage message, Charge charge, std::function<void(RequestId)> ended);

  RequestId id() const { return id_; }
  std::optional<int> pinned() const { return message_.rank; }

  // It is about to be given to `rank`. The message to submit: with the progress made so far.
  SubmitMessage place(int rank);
  // The rank has taken it under `theirs`. False when it ended meanwhile, or lost its last choice.
  bool placed(RequestId theirs);
  // Where it runs; -1 while it is between ranks or when it has ended.
  int rank() const;
  // Its rank is lost; `planned`: on purpose.
  void displace(bool planned);
  // How many ranks it was given to, but for those that were lost on purpose.
  int placements() const;

  void on_tokens(std::vector<TokenMessage>&& messages) override;
  // A choice (-1: all) was cancelled. The rank and number to cancel there; rank -1: nowhere.
  std::pair<int, RequestId> cancel(int index);
  // Ends the open choices with an error.
  void fail(const Error& error);
  // Takes what is left of its work off the books; nothing more is charged.
  void settle();

 private:
  void charge_rest(int sign);
  bool ended() const;

  const RequestId id_;
  const Charge charge_;
  const std::function<void(RequestId)> on_ended_;
  mutable std::mutex mutex_;
  SubmitMessage message_;  // its subscriber is the client's
  std::int64_t prompt_;    // tokens not yet computed
  std::int64_t budget_;    // tokens not yet generated
  int rank_ = -1;
  bool running_ = false;   // the rank has taken it
  bool settled_ = false;
  int placements_ = 0;
  RequestId theirs_ = 0;
};

}  // namespace braid::engine
