// SPDX-License-Identifier: Apache-2.0
#include "engine/lockstep.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "base/log.h"

namespace braid::engine {
namespace {

Error maps_differ(fabric::Rank rank, std::uint64_t own, std::size_t peer, std::uint64_t theirs) {
  return internal_error("rank " + std::to_string(rank) + " and rank " + std::to_string(peer) +
                        " disagree on which rank holds which expert (checksums " + std::to_string(own) + " and " +
                        std::to_string(theirs) + "); answers would be wrong, restart all ranks");
}

// A lost rank is noticed sooner than that, or nobody will say so.
constexpr Duration kPatience = std::chrono::seconds(60);

}  // namespace

Lockstep::Lockstep(Membership& membership, fabric::Transport& transport, Duration timeout, Rebuild rebuild)
    : membership_(membership), transport_(transport), timeout_(timeout), rebuild_(std::move(rebuild)) {
  membership_.notify([this] { wake(); });
}

Lockstep::~Lockstep() { membership_.notify({}); }

Status Lockstep::form() { return form_within(Duration::zero()); }

Status Lockstep::recover(const Error& cause) {
  if (cause.code != ErrorCode::kUnavailable && cause.code != ErrorCode::kDeadlineExceeded) return cause;
  log_warning("a step failed; it is done again with the ranks that are left", {{"reason", cause.message}});
  const Status formed = form_within(kPatience);
  if (formed.ok()) return formed;
  return Error{cause.code, cause.message + "; then: " + formed.error().message, {}};
}

Status Lockstep::form_within(Duration patience) {
  for (;;) {
    ASSIGN_OR_RETURN(fabric::Bootstrap* const group, membership_.next(patience));
    const Status joined = join(*group);
    membership_.formed(joined);
    if (joined.ok()) return joined;
    log_warning("a group of ranks could not be formed", {{"reason", joined.error().message}});
    patience = kPatience;
  }
}

Status Lockstep::join(fabric::Bootstrap& group) {
  {
    std::lock_guard lock(mutex_);
    messages_.reset();
  }
  RETURN_IF_ERROR(rebuild_(group));
  ASSIGN_OR_RETURN(auto messages, fabric::AllGather::create(group, transport_, sizeof(StepMessage), timeout_));
  std::lock_guard lock(mutex_);
  messages_ = std::move(messages);
  return Status::success();
}

Result<Agreement> Lockstep::agree(const StepMessage& mine) {
  if (changed() || !messages_) return Error{ErrorCode::kUnavailable, "another group of ranks is to be formed", {}};
  RETURN_IF_ERROR(messages_->post(std::as_bytes(std::span(&mine, 1))));
  ASSIGN_OR_RETURN(const std::span<const std::byte> all, messages_->collect({"agreement on a step"}));
  const std::size_t stride = all.size() / static_cast<std::size_t>(messages_->size());
  Agreement agreed{0, 0, std::numeric_limits<std::uint64_t>::max()};
  agreed.overlap = true;
  for (std::size_t r = 0; r * stride < all.size(); ++r) {
    StepMessage message;
    std::memcpy(&message, all.data() + r * stride, sizeof message);
    agreed.most_tokens = std::max(agreed.most_tokens, message.tokens);
    agreed.all_tokens += message.tokens;
    agreed.staged = std::min(agreed.staged, message.staged);
    if (message.maps != mine.maps) return maps_differ(messages_->rank(), mine.maps, r, message.maps);
    agreed.overlap = agreed.overlap && message.wants_overlap;
    agreed.costs = agreed.costs || message.wants_costs;
    agreed.most_sequences = std::max(agreed.most_sequences, message.sequences);
    agreed.drafts = std::max(agreed.drafts, message.drafts);
  }
  return agreed;
}

void Lockstep::sleep(const std::function<bool()>& woken, TimePoint until) {
  if (messages_) {
    messages_->sleep([&] { return changed() || woken(); }, until);
    return;
  }
  std::unique_lock lock(mutex_);
  const std::uint64_t before = wakes_;
  woken_.wait_until(lock, until, [&] { return wakes_ != before || changed() || woken(); });
}

void Lockstep::wake() {
  std::shared_ptr<fabric::AllGather> messages;
  {
    std::lock_guard lock(mutex_);
    ++wakes_;
    messages = messages_;
  }
  woken_.notify_all();
  if (messages) messages->ring();
}

}  // namespace braid::engine
