// SPDX-License-Identifier: Apache-2.0
#include "transfer/lender.h"

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
  Offer offer{{options_.engine_id, incarnation_, options_.host, listener_->port(), random_id()}, b.blocks, b.tokens, 0,
              memory_.shape().block_size, memory_.shape().dtype, unix_in(options_.lease)};
  hold.grant = {{}, 0, 0, b.tokens, b.followed, b.digest, b.next, std::move(b.blocks)};
  hold.deadline = now + options_.lease;
  std::lock_guard lock(mutex_);
  CHECK(!free_words_.empty(), "there are never more holds than blocks");
  hold.grant.word = free_words_.back();
  free_words_.pop_back();
  offer.generation = hold.grant.generation = ++generations_;
  memory_.set_generation(hold.grant.word, hold.grant.generation);
  holds_.emplace(offer.source.request_id, std::move(hold));
  return to_json(offer);
}

Lender::Collected Lender::collect(TimePoint now) {
  Collected collected;
  std::lock_guard lock(mutex_);
  for (auto hold = holds_.begin(); hold != holds_.end();) {
    if (std::exchange(hold->second.renewed, false)) hold->second.deadline = now + options_.lease;
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
  ended_.insert(ended_.end(), grant.blocks.rbegin(), grant.blocks.rend());
  return holds_.erase(hold);
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
      return ids.size() == 1 && reader.connection->send(static_cast<std::uint8_t>(FrameType::kGrant), to_json(take(reader, ids.front()))).ok();
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

Grant Lender::take(const Reader& reader, const std::string& id) {
  std::lock_guard lock(mutex_);
  const auto found = holds_.find(id);
  if (found == holds_.end()) return {"its blocks are no longer held; the lease is over, or they were read before", 0, 0, 0, 0, 0, {}};
  Hold& hold = found->second;
  if (hold.reader != nullptr && hold.reader != &reader) return {"another engine reads its blocks", 0, 0, 0, 0, 0, {}};
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
