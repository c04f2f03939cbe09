// SPDX-License-Identifier: Apache-2.0
#include "app/rank_hosts.h"

#include <algorithm>

#include "base/log.h"
#include "base/thread_name.h"
#include "engine/cache_size.h"

namespace braid::app {
namespace {

TimePoint now() { return std::chrono::steady_clock::now(); }

constexpr std::uint8_t frame(HostFrame type) { return static_cast<std::uint8_t>(type); }

}  // namespace

// Makes events of what a host says.
class RankHosts::Link {
 public:
  Link(std::unique_ptr<fabric::Connection> connection, std::shared_ptr<RankExchange> exchange, std::uint64_t serial, Duration silence)
      : connection_(std::move(connection)), exchange_(std::move(exchange)), serial_(serial), silence_(silence), thread_([this] { run(); }) {}
  ~Link() {
    connection_->close();
    thread_.join();
  }

  void send(HostFrame type, const std::string& payload) { (void)connection_->send(frame(type), payload); }

 private:
  void run() {
    name_this_thread("braid-host");
    for (;;) {
      auto heard = connection_->receive(now() + silence_);
      if (!heard.ok()) return exchange_->push({.kind = RankEvent::Kind::kHostLost, .serial = serial_, .text = heard.error().message});
      if (heard->type == frame(HostFrame::kState)) exchange_->push({.kind = RankEvent::Kind::kHostState, .serial = serial_, .text = std::move(heard->payload)});
      if (heard->type == frame(HostFrame::kEnded)) exchange_->push({.kind = RankEvent::Kind::kHostEnded, .serial = serial_, .text = std::move(heard->payload)});
    }
  }

  const std::unique_ptr<fabric::Connection> connection_;
  const std::shared_ptr<RankExchange> exchange_;
  const std::uint64_t serial_;
  const Duration silence_;
  std::thread thread_;
};

RankHosts::RankHosts(Parts parts) : parts_(std::move(parts)), size_(parts_.all) {
  for (int i = 0; i < parts_.here.count; ++i) own_.insert(parts_.here.first + i);
}

RankHosts::~RankHosts() = default;

Status RankHosts::start() {
  for (const int rank : own_) RETURN_IF_ERROR(parts_.own.start(rank));
  return Status::success();
}

Status RankHosts::check(const HostHello& hello, bool starting) const {
  if (!starting || hello.ranks.count == 0) return Status::success();
  const bool twice = std::any_of(hosts_.begin(), hosts_.end(), [&](const Host& h) { return h.link && h.hello.ranks == hello.ranks; });
  if (!twice) return Status::success();
  return invalid_argument("two hosts say that they are " + name_of_host(hello.ranks) + "; check --data-parallel-start-rank");
}

RankHosts::Host& RankHosts::record_of(const HostHello& hello) {
  const auto same = std::find_if(hosts_.begin(), hosts_.end(), [&](const Host& h) {
    return h.hello.ranks == hello.ranks && (hello.ranks.count > 0 || !h.link);
  });
  if (same != hosts_.end()) return *same;
  Host host{.hello = hello};
  for (int rank = hello.ranks.first; rank < std::min(hello.ranks.first + hello.ranks.count, size_); ++rank) {
    Host* owner = host_of(rank);
    if (own_.contains(rank) || (owner && owner->link)) continue;
    if (owner) owner->ranks.erase(rank);
    host.ranks.insert(rank);
  }
  return hosts_.emplace_back(std::move(host));
}

void RankHosts::connect(const HostHello& hello, std::unique_ptr<fabric::Connection> connection) {
  Host& host = record_of(hello);
  host.hello = hello;
  host.serial = ++serials_;
  host.state = {};
  host.link = std::make_unique<Link>(std::move(connection), parts_.exchange, host.serial, parts_.silence);
  order(host);
}

std::optional<EndedRank> RankHosts::hear(const RankEvent& event) {
  const auto host = std::find_if(hosts_.begin(), hosts_.end(), [&](const Host& h) { return h.link && h.serial == event.serial; });
  if (host == hosts_.end()) return std::nullopt;
  EndedRank ended;
  switch (event.kind) {
    case RankEvent::Kind::kHostState: renew(*host, event.text); return std::nullopt;
    case RankEvent::Kind::kHostEnded:
      if (!engine::from_bytes(event.text, ended)) return std::nullopt;
      ended.text += " on " + host->hello.name;
      return ended;
    case RankEvent::Kind::kHostLost:
      log_warning("a host is gone", {{"name", host->hello.name}, {"ranks", host->ranks.size()}, {"reason", event.text}});
      host->link.reset();
      return std::nullopt;
    default: return std::nullopt;
  }
}

void RankHosts::renew(Host& host, const std::string& text) {
  const bool first = host.state.available_bytes == 0;
  if (!engine::from_bytes(text, host.state) || !first) return;
  log_info("a host has come", {{"name", host.hello.name}, {"ranks", host.ranks.size()}, {"free_mib", host.state.available_bytes >> 20}});
}

void RankHosts::serve() {
  serving_ = true;
  for (Host& host : hosts_) order(host);
}

void RankHosts::end() {
  for (Host& host : hosts_) {
    if (host.link) host.link->send(HostFrame::kEnd, {});
  }
}

ScaleFacts RankHosts::facts() const {
  ScaleFacts facts{.rank_bytes = parts_.own.largest_bytes(), .hosts = {{"this host", static_cast<int>(own_.size()), engine::available_memory()}}};
  for (const Host& host : hosts_) {
    facts.rank_bytes = std::max(facts.rank_bytes, host.state.rank_bytes);
    facts.hosts.push_back({host.hello.name, static_cast<int>(host.ranks.size()), host.link ? host.state.available_bytes : 0, host.link != nullptr});
  }
  return facts;
}

void RankHosts::place(int first, const std::vector<std::size_t>& hosts) {
  for (const std::size_t host : hosts) (host == 0 ? own_ : hosts_.at(host - 1).ranks).insert(first++);
}

RankHosts::Host* RankHosts::host_of(int rank) {
  const auto found = std::find_if(hosts_.begin(), hosts_.end(), [&](const Host& h) { return h.ranks.contains(rank); });
  return found == hosts_.end() ? nullptr : &*found;
}

void RankHosts::order(Host& host) {
  if (host.link) host.link->send(HostFrame::kRun, engine::to_bytes(HostOrder{size_, {host.ranks.begin(), host.ranks.end()}, serving_}));
}

Status RankHosts::start(int rank) {
  if (own_.contains(rank)) return parts_.own.start(rank);
  Host* host = host_of(rank);
  if (!host || !host->link) return Error{ErrorCode::kUnavailable, "the host that was to run " + whereabouts(rank) + " is gone", {}};
  order(*host);
  return Status::success();
}

void RankHosts::drop(int rank) {
  if (own_.erase(rank) > 0) return parts_.own.drop(rank);
  Host* host = host_of(rank);
  if (!host) return;
  host->ranks.erase(rank);
  order(*host);
}

void RankHosts::resize(int ranks) {
  size_ = ranks;
  parts_.own.resize(ranks, std::max(1, static_cast<int>(own_.size())));
  for (Host& host : hosts_) order(host);
}

std::string RankHosts::whereabouts(int rank) const {
  const auto found = std::find_if(hosts_.begin(), hosts_.end(), [&](const Host& h) { return h.ranks.contains(rank); });
  return name_of_rank(rank) + (found == hosts_.end() ? "" : " on " + found->hello.name);
}

}  // namespace braid::app
