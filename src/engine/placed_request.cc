// SPDX-License-Identifier: Apache-2.0
#include "engine/placed_request.h"

#include <algorithm>

namespace braid::engine {

using protocol::FinishReason;

PlacedRequest::PlacedRequest(RequestId id, SubmitMessage message, Charge charge, std::function<void(RequestId)> ended)
    : id_(id), charge_(std::move(charge)), on_ended_(std::move(ended)), message_(std::move(message)),
      prompt_(static_cast<std::int64_t>(message_.prompt.size())),
      budget_(std::int64_t{message_.params.max_tokens} * message_.params.n) {
  message_.progress.resize(static_cast<std::size_t>(std::max(1, message_.params.n)));
}

bool PlacedRequest::ended() const {
  return std::all_of(message_.progress.begin(), message_.progress.end(), [](const Progress& p) { return p.ended; });
}

SubmitMessage PlacedRequest::place(int rank) {
  std::lock_guard lock(mutex_);
  rank_ = rank;
  running_ = false;
  ++placements_;
  charge_rest(1);
  SubmitMessage message = message_;
  const auto begun = [](const Progress& p) { return p.ended || !p.tokens.empty(); };
  if (std::none_of(message.progress.begin(), message.progress.end(), begun)) message.progress.clear();
  if (placements_ > 1) message.kv_transfer_params.clear();  // blocks that the lost rank had taken or lent
  message.rank.reset();  // it is there
  message.subscriber = shared_from_this();
  return message;
}

bool PlacedRequest::placed(RequestId theirs) {
  std::lock_guard lock(mutex_);
  theirs_ = theirs;
  running_ = true;
  return !ended();
}

int PlacedRequest::rank() const {
  std::lock_guard lock(mutex_);
  return running_ && !ended() ? rank_ : -1;
}

void PlacedRequest::displace(bool planned) {
  std::lock_guard lock(mutex_);
  if (planned) --placements_;
  running_ = false;
  charge_rest(-1);
  prompt_ = static_cast<std::int64_t>(message_.prompt.size());  // to be computed again
}

int PlacedRequest::placements() const {
  std::lock_guard lock(mutex_);
  return placements_;
}

void PlacedRequest::on_tokens(std::vector<TokenMessage>&& messages) {
  bool over = false;
  {
    std::lock_guard lock(mutex_);
    charge_rest(-1);
    for (TokenMessage& m : messages) {
      m.request = id_;
      const bool begun = !m.tokens.empty() || m.finish != FinishReason::kNone;
      if (begun) prompt_ = 0;
      if (m.index < 0 || static_cast<std::size_t>(m.index) >= message_.progress.size()) continue;
      Progress& progress = message_.progress[static_cast<std::size_t>(m.index)];
      progress.tokens.insert(progress.tokens.end(), m.tokens.begin(), m.tokens.end());
      progress.ended |= m.finish != FinishReason::kNone;
      budget_ -= static_cast<std::int64_t>(m.tokens.size());
      if (begun && m.index == 0) message_.params.prompt_logprobs.reset();  // the subscriber has them
    }
    budget_ = std::max<std::int64_t>(0, budget_);
    over = ended();
    if (!over) charge_rest(1);
    settled_ |= over;
  }
  message_.subscriber->on_tokens(std::move(messages));
  if (over) on_ended_(id_);
}

std::pair<int, RequestId> PlacedRequest::cancel(int index) {
  std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < message_.progress.size(); ++i) {
    if (index < 0 || static_cast<std::size_t>(index) == i) message_.progress[i].ended = true;
  }
  const std::pair<int, RequestId> where{running_ ? rank_ : -1, theirs_};
  if (ended()) {
    charge_rest(-1);
    settled_ = true;
  }
  return where;
}

void PlacedRequest::fail(const Error& error) {
  std::vector<TokenMessage> last;
  {
    std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < message_.progress.size(); ++i) {
      if (std::exchange(message_.progress[i].ended, true)) continue;
      TokenMessage& m = last.emplace_back();
      m.request = id_;
      m.index = static_cast<int>(i);
      m.finish = FinishReason::kError;
      m.error = error;
    }
  }
  settle();
  if (!last.empty()) message_.subscriber->on_tokens(std::move(last));
  on_ended_(id_);
}

void PlacedRequest::settle() {
  std::lock_guard lock(mutex_);
  charge_rest(-1);
  settled_ = true;
}

void PlacedRequest::charge_rest(int sign) {
  if (settled_ || rank_ < 0) return;
  charge_(rank_, sign * prompt_, sign * budget_);
}

}  // namespace braid::engine
