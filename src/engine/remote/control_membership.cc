// SPDX-License-Identifier: Apache-2.0
#include "engine/remote/control_membership.h"

#include <algorithm>

namespace braid::engine {
namespace {

// The slowest rank of a group may have experts to load from a disk.
constexpr Duration kCollectiveTime = std::chrono::minutes(10);

}  // namespace

class ControlMembership::Session final : public fabric::Bootstrap {
 public:
  Session(ControlMembership& owner, Group group, int position, std::shared_ptr<const std::atomic<bool>> given_up)
      : owner_(owner), group_(std::move(group)), position_(position), given_up_(std::move(given_up)) {}
  fabric::Rank rank() const override { return position_; }
  int size() const override { return static_cast<int>(group_.members.size()); }
  int number_of(fabric::Rank rank) const override { return group_.members[static_cast<std::size_t>(rank)]; }
  Result<std::vector<std::string>> all_gather(const std::string& mine) override { return owner_.gather(group_, mine); }
  std::shared_ptr<const std::atomic<bool>> given_up() const override { return given_up_; }

 private:
  ControlMembership& owner_;
  const Group group_;
  const int position_;
  const std::shared_ptr<const std::atomic<bool>> given_up_;
};

ControlMembership::ControlMembership(fabric::Connection& connection, int rank, std::function<void(const Status&)> on_formed)
    : connection_(connection), rank_(rank), on_formed_(std::move(on_formed)) {}
ControlMembership::~ControlMembership() = default;

void ControlMembership::announce(Group group) {
  std::function<void()> tell;
  {
    std::lock_guard lock(mutex_);
    if (group.generation <= newest_.generation) return;
    newest_ = std::move(group);
    if (given_up_) given_up_->store(true, std::memory_order_release);
    tell = on_change_;
  }
  changed_.notify_all();
  if (tell) tell();
}

void ControlMembership::gathered(Gathered gathered) {
  {
    std::lock_guard lock(mutex_);
    answers_.push_back(std::move(gathered));
  }
  changed_.notify_all();
}

bool ControlMembership::changed() const {
  std::lock_guard lock(mutex_);
  return newest_.generation > taken_;
}

Result<fabric::Bootstrap*> ControlMembership::next(Duration patience) {
  std::unique_lock lock(mutex_);
  const bool came = changed_.wait_for(lock, patience, [&] { return closed_ || newest_.generation > taken_; });
  if (closed_) return Error{ErrorCode::kUnavailable, "the rank is shutting down", {}};
  if (!came) return Error{ErrorCode::kDeadlineExceeded, "the serving process announced no other group of ranks", {}};
  taken_ = newest_.generation;
  given_up_ = std::make_shared<std::atomic<bool>>(false);
  answers_.clear();
  const auto& members = newest_.members;
  const auto me = std::find(members.begin(), members.end(), rank_);
  if (me == members.end()) return Error{ErrorCode::kUnavailable, "the serving process has left this rank out of the group", {}};
  session_ = std::make_unique<Session>(*this, newest_, static_cast<int>(me - members.begin()), given_up_);
  return static_cast<fabric::Bootstrap*>(session_.get());
}

Result<std::vector<std::string>> ControlMembership::gather(const Group& group, const std::string& mine) {
  RETURN_IF_ERROR(connection_.send(static_cast<std::uint8_t>(FrameType::kGather), to_bytes(Gather{group.generation, mine})));
  std::unique_lock lock(mutex_);
  const auto answered = [&] {
    while (!answers_.empty() && answers_.front().generation != group.generation) answers_.pop_front();
    return closed_ || newest_.generation > group.generation || !answers_.empty();
  };
  const bool came = changed_.wait_for(lock, kCollectiveTime, answered);
  if (closed_) return Error{ErrorCode::kUnavailable, "the rank is shutting down", {}};
  if (newest_.generation > group.generation) return Error{ErrorCode::kUnavailable, "another group of ranks was announced", {}};
  if (!came) return Error{ErrorCode::kDeadlineExceeded, "not all ranks of the group answered a collective", {}};
  auto texts = std::move(answers_.front().texts);
  answers_.pop_front();
  if (texts.size() == group.members.size()) return texts;
  return internal_error("the serving process answered a collective of the ranks with something else");
}

void ControlMembership::formed(const Status& status) {
  if (on_formed_) on_formed_(status);
  std::uint64_t generation = 0;
  {
    std::lock_guard lock(mutex_);
    generation = taken_;
  }
  // A broken connection ends the process by its reader.
  (void)connection_.send(static_cast<std::uint8_t>(FrameType::kFormed),
                         to_bytes(Formed{generation, status.ok() ? "" : status.error().message}));
}

void ControlMembership::notify(std::function<void()> on_change) {
  std::lock_guard lock(mutex_);
  on_change_ = std::move(on_change);
}

void ControlMembership::close() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
}

}  // namespace braid::engine
