// SPDX-License-Identifier: Apache-2.0
#include "app/rank_scaling.h"

#include <utility>

#include "base/log.h"

namespace braid::app {
namespace {

TimePoint now() { return std::chrono::steady_clock::now(); }

std::string in_seconds(Duration d) { return std::to_string(std::chrono::duration_cast<std::chrono::seconds>(d).count()) + " seconds"; }

}  // namespace

bool RankScaling::late() const { return now() > deadline_; }

void RankScaling::begin(int from, int to, Duration drain, std::function<void(const Status&)> done) {
  from_ = from;
  to_ = to;
  done_ = std::move(done);
  failure_.clear();
  result_ = Status::success();
  log_info("the number of ranks changes", {{"from", from}, {"to", to}});
  if (to == from) return finish(result_);
  if (to < from) {
    phase_ = Phase::kDraining;
    deadline_ = now() + drain;
    for (int r = to; r < from; ++r) parts_.balanced.retire(r);
    return;
  }
  phase_ = Phase::kLoading;
  deadline_ = now() + parts_.patience;
  parts_.resize(to);
  for (int r = from; r < to; ++r) {
    parts_.members.expect(r);
    if (const Status started = parts_.hosts.start(r); !started.ok()) failed(started.error().message);
  }
}

void RankScaling::failed(const std::string& reason) {
  if (failure_.empty()) failure_ = reason;
}

void RankScaling::look() {
  switch (phase_) {
    case Phase::kNone: return;
    case Phase::kLoading: return load();
    case Phase::kForming: return form();
    case Phase::kDraining: return drain();
    case Phase::kLeaving: return leave();
  }
}

void RankScaling::load() {
  if (!failure_.empty()) return undo(failure_);
  if (late()) return undo("waited " + in_seconds(parts_.patience) + " for " + parts_.members.missing());
  for (int r = from_; r < to_; ++r) {
    if (!parts_.members.is_ready(r)) return;
  }
  for (int r = from_; r < to_; ++r) parts_.members.admit(r);
  parts_.members.announce();
  phase_ = Phase::kForming;
}

void RankScaling::form() {
  if (!failure_.empty()) return undo(failure_);
  if (late()) return undo("the larger group was not formed within " + in_seconds(parts_.patience));
  if (!parts_.leader.forming().empty()) return;
  for (int r = from_; r < to_; ++r) parts_.members.serve(r);
  finish(Status::success());
}

void RankScaling::undo(const std::string& reason) {
  log_error("the deployment does not grow", {{"reason", reason}, {"ranks", from_}});
  result_ = Error{ErrorCode::kInternal, "the deployment goes on with " + std::to_string(from_) + " ranks: " + reason, {}};
  part(from_, to_);
}

void RankScaling::drain() {
  bool busy = false;
  for (int r = to_; r < from_; ++r) busy = busy || parts_.balanced.requests(r) > 0;
  if (!busy || late()) part(to_, from_);
}

// The others hear first that these are not with them any more.
void RankScaling::part(int first, int end) {
  for (int r = first; r < end; ++r) parts_.members.let_go(r);
  if (phase_ != Phase::kLoading) parts_.members.announce();
  for (int r = first; r < end; ++r) {
    parts_.hosts.drop(r);
    parts_.members.disconnect(r);
  }
  phase_ = Phase::kLeaving;
  deadline_ = now() + parts_.patience;
}

void RankScaling::leave() {
  const int first = std::min(from_, to_), end = std::max(from_, to_);
  for (int r = first; r < end; ++r) {
    if (parts_.members.knows(r) && parts_.members.connected(r)) return;  // until its loss is heard of
  }
  for (int r = first; r < end; ++r) parts_.members.forget(r);
  if (late()) return finish(Error{ErrorCode::kDeadlineExceeded, "the other ranks have not formed a group without those that left yet; they go on trying", {}});
  if (parts_.leader.forming().empty()) finish(result_);
}

void RankScaling::finish(const Status& status) {
  phase_ = Phase::kNone;
  if (to_ < from_) parts_.resize(to_);
  else if (!status.ok()) parts_.resize(from_);
  if (status.ok()) log_info("the number of ranks has changed", {{"ranks", to_}});
  std::exchange(done_, nullptr)(status);
}

}  // namespace braid::app
