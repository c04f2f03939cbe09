// SPDX-License-Identifier: Apache-2.0
#include "transfer/peer.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "base/thread_name.h"
#include "fabric/paths.h"
#include "transfer/pieces.h"

namespace braid::transfer {
namespace {

constexpr std::size_t kPiece = std::size_t{1} << 20;
constexpr std::size_t kBatch = std::size_t{16} << 20;  // bytes read between two looks at the clock
constexpr int kRenewalsInLease = 3;
constexpr Duration kBeat = std::chrono::seconds(30);  // of a connection that nobody uses
constexpr int kMeasurements = 4;
constexpr double kGiga = 1e9;
constexpr int kEagerPolls = 1000;
constexpr Duration kPollEvery = std::chrono::microseconds(50);
// What grows is looked at again after a part of the time that it has stood still.
constexpr int kLooksInStandstill = 32;
constexpr Duration kShortestLook = std::chrono::microseconds(100);
constexpr Duration kLongestLook = std::chrono::milliseconds(2);

TimePoint now() { return std::chrono::steady_clock::now(); }

Error unavailable(const std::string& what) { return {ErrorCode::kUnavailable, what, {}}; }

}  // namespace

Peer::Peer(Source address, BorrowerOptions options, fabric::Transport& transport, Memory& memory, std::function<void(News)> tell)
    : address_(std::move(address)), options_(std::move(options)), transport_(transport), memory_(memory), tell_(std::move(tell)),
      thread_([this] { run(); }) {}

Peer::~Peer() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Peer::open(FetchId fetch, Source source, std::vector<std::int32_t> prompt) { push(Open{fetch, std::move(source), std::move(prompt)}); }
void Peer::read(FetchId fetch, Reading reading) { push(Read{fetch, std::move(reading)}); }
void Peer::decline(Source source) { push(Decline{std::move(source)}); }

void Peer::end(FetchId fetch) {
  {
    std::lock_guard lock(mutex_);
    ended_.insert(fetch);
  }
  push(End{fetch});
}

void Peer::push(std::variant<Open, Read, End, Decline> what) {
  {
    std::lock_guard lock(mutex_);
    jobs_.push_back({std::move(what), now()});
  }
  changed_.notify_all();
}

std::optional<Peer::Job> Peer::next_job() {
  std::unique_lock lock(mutex_);
  const TimePoint until = std::min({next_renewal_, next_look_, now() + std::chrono::seconds(1)});
  changed_.wait_until(lock, until, [&] { return stopping_ || !jobs_.empty(); });
  if (jobs_.empty()) return std::nullopt;
  std::optional<Job> job(std::move(jobs_.front()));
  jobs_.pop_front();
  return job;
}

void Peer::run() {
  name_this_thread("braid-borrower");
  for (;;) {
    if (auto job = next_job()) {
      pushed_ = job->pushed;
      std::visit([this](const auto& what) { handle(what); }, job->what);
    } else if (stopping()) {
      break;
    }
    follow_all();
    if (const Status renewed = renew(); !renewed.ok()) lose(sentence(renewed.error()));
  }
  for (const auto& [fetch, taken] : taken_) release(taken.request_id);
}

std::string Peer::sentence(const Error& error) const { return "the engine at " + address_.where() + ": " + error.message; }

bool Peer::stopping() {
  std::lock_guard lock(mutex_);
  return stopping_;
}

bool Peer::unwanted(FetchId fetch) {
  std::lock_guard lock(mutex_);
  return stopping_ || ended_.contains(fetch);
}

void Peer::handle(const Open& job) {
  if (unwanted(job.fetch)) return handle(Decline{job.source});
  const auto grant = take(job);
  if (!grant.ok()) return fail(job.fetch, sentence(grant.error()));
  next_renewal_ = std::min(next_renewal_, now() + options_.lease / kRenewalsInLease);
  const auto prompt = static_cast<std::int32_t>(job.prompt.size());
  taken_[job.fetch] = {.request_id = job.source.request_id, .grant = *grant, .prompt = prompt, .heard = now()};
  this->grant(job.fetch, taken_.at(job.fetch));
}

void Peer::grant(FetchId fetch, const Taken& taken) {
  const Grant& g = taken.grant;
  tell_({.fetch = fetch, .kind = News::Kind::kGranted, .tokens = g.total, .growing = g.growing, .followed = g.followed,
         .next = g.total == taken.prompt ? g.next : -1});
}

void Peer::handle(const Read& job) {
  const auto found = taken_.find(job.fetch);
  if (found == taken_.end()) return fail(job.fetch, "the engine at " + address_.where() + " was lost");
  found->second.reading = job.reading;
  found->second.done = job.reading.first;
  found->second.grew = now();
  follow(job.fetch);
  schedule_look();
}

void Peer::handle(const End& job) {
  if (const auto found = taken_.find(job.fetch); found != taken_.end()) {
    if (found->second.reading) end_read(job.fetch, {.error = "the request has ended"});
    else release(taken_.extract(found).mapped().request_id);
  }
  std::lock_guard lock(mutex_);
  ended_.erase(job.fetch);
}

void Peer::handle(const Decline& job) {
  if (stopping() && !link_) return;
  if (connect(job.source.incarnation).ok()) release(job.source.request_id);
}

// An incarnation that is not the connected one's may be that of an engine that has taken its place.
Status Peer::connect(const std::string& incarnation) {
  const auto is_it = [&] { return incarnation.empty() || link_->welcome.incarnation == incarnation; };
  if (link_ && is_it()) return {};
  if (pushed_ < failed_at_) return failure_;
  auto met = meet();
  if (!met.ok()) {
    failure_ = met.error();
    failed_at_ = now();
    return failure_;
  }
  if (link_ && link_->welcome.incarnation != met->welcome.incarnation) lose("the engine at " + address_.where() + " was restarted");
  if (!link_) {
    link_ = std::move(*met);
    next_renewal_ = now() + kBeat;
  }
  if (!is_it()) return unavailable("it was restarted, and no longer has the blocks");
  return {};
}

Result<Peer::Link> Peer::meet() {
  Link link;
  ASSIGN_OR_RETURN(link.connection, fabric::Connection::connect(address_.host, address_.port, options_.secret, {}, now() + options_.connect_time));
  const auto frame = link.connection->receive(now() + options_.answer_time);
  if (!frame.ok()) return frame.error().within("it gave no welcome (do both have the same kv_secret?)");
  if (static_cast<FrameType>(frame->type) != FrameType::kWelcome) return internal_error("it is not an engine that lends blocks");
  ASSIGN_OR_RETURN(link.welcome, read_welcome(frame->payload));
  if (const std::string why = mismatch(memory_.shape(), link.welcome.shape); !why.empty()) return invalid_argument("its blocks cannot be read: " + why);
  ASSIGN_OR_RETURN(link.region, transport_.connect(link.welcome.region));
  if (link.region->size() < link.welcome.shape.bytes()) return internal_error("its memory is smaller than its cache");
  ASSIGN_OR_RETURN(const double speed, measure(link));
  const fabric::Path path = link.region->path();
  log_info("path to an engine that lends blocks",
           {{"address", address_.where()}, {"over", path.name}, {"gb_per_s", speed / kGiga}, {"made_for_gb_per_s", path.rated / kGiga}});
  if (fabric::suspicious({path.name, path.rated, speed})) {
    log_warning("the path to an engine that lends blocks is much slower than expected; check cables, interfaces and kv_ip", {{"address", address_.where()}});
  }
  return link;
}

// Bytes a second, the best of a few reads of whatever lies at the beginning.
Result<double> Peer::measure(Link& link) {
  if (!scratch_) {
    ASSIGN_OR_RETURN(scratch_, transport_.register_memory(kPiece));
  }
  const std::size_t bytes = std::min(kPiece, link.region->size());
  double best = 0;
  for (int i = 0; i < kMeasurements; ++i) {
    const TimePoint start = now();
    RETURN_IF_ERROR(transfer(*link.region, {{scratch_->memory().data(), 0, bytes}}));
    best = std::max(best, static_cast<double>(bytes) / to_seconds(now() - start));
  }
  return best;
}

Result<fabric::Frame> Peer::ask(const Open& job) {
  RETURN_IF_ERROR(connect(job.source.incarnation));
  const Status sent = link_->connection->send(static_cast<std::uint8_t>(FrameType::kTake), take_json(job.source.request_id));
  auto frame = sent.ok() ? link_->connection->receive(now() + options_.answer_time) : Result<fabric::Frame>(sent.error());
  if (!frame.ok()) lose(sentence(frame.error()));
  return frame;
}

Result<Grant> Peer::take(const Open& job) {
  const bool connected = link_.has_value();
  auto frame = ask(job);
  // A connection may have broken while nobody used it.
  if (!frame.ok() && connected && frame.error().code == ErrorCode::kUnavailable) frame = ask(job);
  if (!frame.ok()) return frame.error();
  ASSIGN_OR_RETURN(Grant grant, read_grant(frame->payload));
  if (!grant.refused.empty()) return unavailable(grant.refused);
  const Shape& shape = link_->welcome.shape;
  const std::int64_t rows = static_cast<std::int64_t>(grant.blocks.size()) / shape.groups * shape.block_size;
  const bool same = grant.total >= 0 && grant.total <= static_cast<std::int32_t>(job.prompt.size()) && digest_of(job.prompt.data(), grant.total) == grant.digest;
  if (same && grant.tokens <= rows) return grant;
  release(job.source.request_id);
  return invalid_argument("it has computed another prompt; do both engines see the same request, tokenizer and chat template?");
}

void Peer::follow_all() {
  if (now() < next_look_) return;
  std::vector<FetchId> all;
  for (const auto& [fetch, taken] : taken_) {
    if (taken.followed()) all.push_back(fetch);
  }
  for (const FetchId fetch : all) {
    if (taken_.contains(fetch)) follow(fetch);
  }
  schedule_look();
}

void Peer::schedule_look() {
  next_look_ = TimePoint::max();
  const TimePoint time = now();
  for (const auto& [fetch, taken] : taken_) {
    if (!taken.followed()) continue;
    next_look_ = std::min(next_look_, time + std::clamp<Duration>((time - taken.grew) / kLooksInStandstill, kShortestLook, kLongestLook));
  }
}

void Peer::follow(FetchId fetch) {
  Taken& taken = taken_.at(fetch);
  if (taken.rewound) return wait_for(fetch, taken);
  const Status status = catch_up(fetch, taken);
  if (!link_) return;  // it has failed with all others
  if (!status.ok()) return end_read(fetch, {.error = sentence(status.error())});
  if (taken.grant.growing || taken.rewound) return;
  if (taken.done < taken.reading->end) return end_read(fetch, {.error = sentence(unavailable("it no longer has all keys and values that are needed"))});
  end_read(fetch, {.kind = News::Kind::kRead, .followed = taken.grant.followed, .next = taken.grant.total == taken.prompt ? taken.grant.next : -1,
                   .bytes = taken.bytes, .seconds = to_seconds(taken.spent)});
}

void Peer::wait_for(FetchId fetch, Taken& taken) {
  const auto same = unchanged(taken);
  Status status = same.ok() ? Status() : Status(same.error());
  const bool silent = now() - taken.heard > options_.lease / kRenewalsInLease;
  if (status.ok() && (!*same || silent)) status = take_again(taken);
  if (!link_) return;
  if (!status.ok()) return end_read(fetch, {.error = sentence(status.error())});
  if (taken.grant.growing) return;
  taken.rewound = false;
  grant(fetch, taken);
}

void Peer::end_read(FetchId fetch, News news) {
  release(taken_.at(fetch).request_id);
  taken_.erase(fetch);
  news.fetch = fetch;
  tell_(std::move(news));
}

Status Peer::catch_up(FetchId fetch, Taken& taken) {
  for (;;) {
    const std::int32_t ready = std::clamp(taken.grant.tokens, taken.done, std::max(taken.done, taken.reading->end));
    const TimePoint start = now();
    if (ready > taken.done) RETURN_IF_ERROR(receive(fetch, taken, ready));
    ASSIGN_OR_RETURN(bool same, unchanged(taken));
    if (ready > taken.done) taken.spent += now() - start;
    const std::uint64_t epoch = taken.grant.epoch;
    const bool silent = taken.grant.growing && now() - taken.heard > options_.lease / kRenewalsInLease;
    if (!same || silent) RETURN_IF_ERROR(take_again(taken));
    if (taken.grant.epoch != epoch) {
      taken.rewound = true;
      taken.reading.reset();
      tell_({.fetch = fetch, .kind = News::Kind::kRewound});
      return {};
    }
    taken.done = ready;
    if (same && !silent) return {};
    taken.grew = now();
  }
}

Status Peer::receive(FetchId fetch, Taken& taken, std::int32_t end) {
  const Rows rows{taken.done, end, taken.reading->end, taken.reading->blocks, taken.grant.blocks};
  if (!held(memory_, link_->welcome.shape, rows)) return unavailable("it no longer has all keys and values that are needed");
  std::vector<fabric::Piece> batch;
  std::size_t gathered = 0;
  const auto flush = [&]() -> Status {
    if (unwanted(fetch)) return Error{ErrorCode::kCancelled, "the request has ended", {}};
    RETURN_IF_ERROR(renew());
    taken.bytes += std::exchange(gathered, 0);
    return transfer(*link_->region, std::exchange(batch, {}));
  };
  for (const auto& piece : pieces_of(memory_, link_->welcome.shape, rows, kPiece)) {
    batch.push_back(piece);
    gathered += piece.bytes;
    if (gathered >= kBatch) RETURN_IF_ERROR(flush());
  }
  return batch.empty() ? Status() : flush();
}

Result<bool> Peer::unchanged(const Taken& taken) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  std::byte* const word = scratch_->memory().data();
  RETURN_IF_ERROR(transfer(*link_->region, {{word, Shape::generation_offset(taken.grant.word), sizeof(std::uint64_t)}}));
  std::uint64_t generation = 0;
  std::memcpy(&generation, word, sizeof generation);
  return generation == taken.grant.generation;
}

Status Peer::take_again(Taken& taken) {
  const Status sent = link_->connection->send(static_cast<std::uint8_t>(FrameType::kTake), take_json(taken.request_id));
  auto frame = sent.ok() ? link_->connection->receive(now() + options_.answer_time) : Result<fabric::Frame>(sent.error());
  if (!frame.ok()) {
    const Error error = frame.error();
    lose(sentence(error));
    return error;
  }
  ASSIGN_OR_RETURN(Grant grant, read_grant(frame->payload));
  if (!grant.refused.empty()) return unavailable(taken.grant.growing ? "it no longer computes the prompt" : "its blocks were given to others while they were read");
  taken.grant = std::move(grant);
  taken.heard = now();
  return {};
}

Status Peer::transfer(fabric::RemoteRegion& from, std::vector<fabric::Piece> pieces) {
  ASSIGN_OR_RETURN(const auto transfer, transport_.prepare(from, fabric::Direction::kRead, std::move(pieces)));
  RETURN_IF_ERROR(transport_.post(*transfer));
  const TimePoint deadline = now() + options_.lease;
  for (int polls = 0;; ++polls) {
    ASSIGN_OR_RETURN(const bool done, transport_.poll(*transfer));
    if (done) return {};
    if (!from.alive()) return unavailable("its process has ended");
    if (now() > deadline) return Error{ErrorCode::kDeadlineExceeded, "its memory does not answer", {}};
    if (polls > kEagerPolls) std::this_thread::sleep_for(kPollEvery);
  }
}

Status Peer::renew() {
  if (!link_ || now() < next_renewal_) return {};
  next_renewal_ = now() + (taken_.empty() ? kBeat : options_.lease / kRenewalsInLease);
  if (!link_->region->alive()) return unavailable("its process has ended");
  std::vector<std::string> ids;
  for (const auto& [fetch, taken] : taken_) ids.push_back(taken.request_id);
  return link_->connection->send(static_cast<std::uint8_t>(FrameType::kRenew), requests_json(ids));
}

void Peer::release(const std::string& request_id) {
  if (link_) (void)link_->connection->send(static_cast<std::uint8_t>(FrameType::kRelease), request_json(request_id));
}

// Its holds end with the connection.
void Peer::lose(const std::string& reason) {
  log_warning("an engine that lends blocks is lost", {{"address", address_.where()}, {"reason", reason}});
  link_.reset();
  for (const auto& [fetch, taken] : std::exchange(taken_, {})) fail(fetch, reason);
}

void Peer::fail(FetchId fetch, const std::string& error) {
  tell_({.fetch = fetch, .kind = News::Kind::kFailed, .error = error});
}

}  // namespace braid::transfer
