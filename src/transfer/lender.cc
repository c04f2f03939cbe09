// SPDX-License-Identifier: Apache-2.0
#include "transfer/lender.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/log.h"
#include "base/thread_name.h"

namespace braid::transfer {
namespace {

constexpr Duration kLook = std::chrono::milliseconds(200);
constexpr Duration kSilence = std::chrono::minutes(2);  // readers speak more often
constexpr std::size_t kMostReaders = 1024;

TimePoint in(Duration d) { return std::chrono::steady_clock::now() + d; }

double unix_in(Duration d) {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch() + d).count();
}

}  // namespace

Lender::Lender(LenderOptions options, std::unique_ptr<fabric::Listener> listener, Memory& memory, std::function<void()> changed)
    : options_(std::move(options)), listener_(std::move(listener)), memory_(memory), changed_(std::move(changed)),
      free_words_(static_cast<std::size_t>(memory.shape().blocks)), thread_([this] { listen(); }) {
  std::iota(free_words_.begin(), free_words_.end(), 0u);
}

Lender::~Lender() {
  closing_ = true;
  thread_.join();
  reap(true);
}

std::string Lender::hold(Blocks b, TimePoint now) {
  Hold hold;
  hold.grant = {{}, 0, 0, b.tokens, b.followed, b.digest, b.next, std::move(b.blocks), b.tokens};
  hold.deadline = now + options_.lease;
  const std::string id = random_id();
  std::lock_guard lock(mutex_);
  begin(id, std::move(hold));
  return to_json(offer_of(id, holds_.at(id).grant));
}

Lender::Promise Lender::promise(std::int32_t total, std::uint64_t digest, std::int32_t cached) {
  Hold hold;
  hold.grant.digest = digest;
  hold.grant.total = total;
  hold.grant.growing = true;
  hold.deadline = TimePoint::max();
  const std::string id = random_id();
  std::lock_guard lock(mutex_);
  begin(id, std::move(hold));
  Offer offer = offer_of(id, holds_.at(id).grant);
  offer.cached = cached;
  return {id, to_json(offer)};
}

bool Lender::extend(const std::string& id, const std::vector<kv::BlockId>& blocks) {
  std::lock_guard lock(mutex_);
  const auto found = holds_.find(id);
  if (found == holds_.end()) return false;
  auto& all = found->second.grant.blocks;
  all.insert(all.end(), blocks.begin(), blocks.end());
  return true;
}

void Lender::publish(const std::string& id, std::int32_t tokens, std::int32_t followed) {
  std::lock_guard lock(mutex_);
  const auto found = holds_.find(id);
  if (found == holds_.end() || found->second.grant.tokens >= tokens) return;
  found->second.grant.tokens = tokens;
  found->second.grant.followed = followed;
  renumber(found->second.grant);
}

void Lender::rewind(const std::string& id) {
  std::lock_guard lock(mutex_);
  const auto found = holds_.find(id);
  if (found == holds_.end()) return;
  Grant& grant = found->second.grant;
  grant.tokens = grant.followed = 0;
  ++grant.epoch;
  renumber(grant);
  give_back(grant);
}

std::string Lender::fulfil(const std::string& id, std::int32_t tokens, std::int32_t followed, std::int32_t next, TimePoint now) {
  std::lock_guard lock(mutex_);
  const auto found = holds_.find(id);
  if (found == holds_.end()) return {};
  Grant& grant = found->second.grant;
  grant.tokens = tokens;
  grant.followed = followed;
  grant.next = next;
  grant.growing = false;
  found->second.deadline = now + options_.lease;
  renumber(grant);
  return to_json(offer_of(id, grant));
}

void Lender::drop(const std::string& id) {
  std::lock_guard lock(mutex_);
  if (const auto found = holds_.find(id); found != holds_.end()) end(found);
}

void Lender::begin(const std::string& id, Hold hold) {
  if (free_words_.empty()) {
    const auto empty = std::ranges::find_if(holds_, [](const auto& h) { return h.second.grant.blocks.empty(); });
    CHECK(empty != holds_.end(), "there are never more holds with blocks than blocks");
    end(empty);
  }
  hold.grant.word = free_words_.back();
  free_words_.pop_back();
  renumber(hold.grant);
  holds_.emplace(id, std::move(hold));
}

void Lender::renumber(Grant& grant) {
  grant.generation = ++generations_;
  memory_.set_generation(grant.word, grant.generation);
}

Offer Lender::offer_of(const std::string& id, const Grant& grant) const {
  return {.source = {options_.engine_id, incarnation_, options_.host, listener_->port(), id},
          .blocks = grant.blocks,
          .tokens = grant.total,
          .generation = grant.generation,
          .block_size = memory_.shape().block_size,
          .dtype = memory_.shape().dtype,
          .expires = unix_in(options_.lease)};
}

Lender::Collected Lender::collect(TimePoint now) {
  Collected collected;
  std::lock_guard lock(mutex_);
  for (auto hold = holds_.begin(); hold != holds_.end();) {
    if (std::exchange(hold->second.renewed, false) && !hold->second.grant.growing) hold->second.deadline = now + options_.lease;
    if (hold->second.deadline > now) {
      ++hold;
      continue;
    }
    ++collected.expired;
    hold = end(hold);
  }
  collected.blocks.swap(ended_);
  uncollected_ = 0;
  return collected;
}

int Lender::holds() const {
  std::lock_guard lock(mutex_);
  return static_cast<int>(holds_.size() + uncollected_);
}

Lender::Holds::iterator Lender::end(Holds::iterator hold) {
  Grant& grant = hold->second.grant;
  memory_.set_generation(grant.word, 0);
  free_words_.push_back(grant.word);
  ++uncollected_;
  give_back(grant);
  return holds_.erase(hold);
}

void Lender::give_back(Grant& grant) {
  ended_.insert(ended_.end(), grant.blocks.rbegin(), grant.blocks.rend());
  grant.blocks.clear();
}

void Lender::listen() {
  name_this_thread("braid-lender");
  while (!closing_) {
    auto accepted = listener_->accept(in(kLook));
    reap(false);
    if (!accepted.ok() || readers_.size() >= kMostReaders) continue;
    Reader& reader = readers_.emplace_back();
    reader.connection = std::move(accepted->connection);
    reader.thread = std::thread([this, &reader] { serve(reader); });
  }
}

void Lender::reap(bool all) {
  for (auto reader = readers_.begin(); reader != readers_.end();) {
    if (all) reader->connection->close();
    if (!all && !reader->done) {
      ++reader;
      continue;
    }
    reader->thread.join();
    reader = readers_.erase(reader);
  }
}

void Lender::serve(Reader& reader) {
  name_this_thread("braid-lender");
  const Welcome welcome{options_.engine_id, incarnation_, memory_.shape(), memory_.descriptor()};
  if (reader.connection->send(static_cast<std::uint8_t>(FrameType::kWelcome), to_json(welcome)).ok()) {
    for (;;) {
      const auto frame = reader.connection->receive(in(kSilence));
      if (!frame.ok() || !handle(reader, *frame)) break;
    }
  }
  release_all_of(reader);
  reader.connection->close();
  reader.done = true;
}

bool Lender::handle(Reader& reader, const fabric::Frame& frame) {
  const auto ids = read_requests(frame.payload);
  switch (static_cast<FrameType>(frame.type)) {
    case FrameType::kTake:
      return ids.size() == 1 && reader.connection->send(static_cast<std::uint8_t>(FrameType::kGrant), to_json(take(reader, ids.front(), read_follows(frame.payload)))).ok();
    case FrameType::kRenew:
      for (const auto& id : ids) renew(id);
      return true;
    case FrameType::kRelease:
      for (const auto& id : ids) release(id);
      return true;
    default:
      log_warning("a reader of blocks sent a message of unknown type", {{"type", frame.type}});
      return false;
  }
}

Grant Lender::take(const Reader& reader, const std::string& id, bool follows) {
  std::lock_guard lock(mutex_);
  const auto found = holds_.find(id);
  if (found == holds_.end()) return {.refused = "its blocks are no longer held; the lease is over, or they were read before"};
  Hold& hold = found->second;
  if (hold.reader != nullptr && hold.reader != &reader) return {.refused = "another engine reads its blocks"};
  if (hold.grant.growing && !follows) return {.refused = "the prompt is still being computed, and this reader cannot follow; update it"};
  hold.reader = &reader;
  hold.renewed = true;
  return hold.grant;
}

void Lender::renew(const std::string& id) {
  std::lock_guard lock(mutex_);
  if (const auto found = holds_.find(id); found != holds_.end()) found->second.renewed = true;
}

void Lender::release(const std::string& id) {
  {
    std::lock_guard lock(mutex_);
    const auto found = holds_.find(id);
    if (found == holds_.end()) return;
    end(found);
  }
  changed_();
}

void Lender::release_all_of(const Reader& reader) {
  {
    std::lock_guard lock(mutex_);
    for (auto hold = holds_.begin(); hold != holds_.end();) hold = hold->second.reader == &reader ? end(hold) : std::next(hold);
  }
  changed_();
}

}  // namespace braid::transfer
