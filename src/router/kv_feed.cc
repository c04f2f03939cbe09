// SPDX-License-Identifier: Apache-2.0
#include "router/kv_feed.h"

#include <algorithm>

namespace braid::router {
namespace {

constexpr std::size_t kMostReplays = 8;
constexpr std::size_t kMostHeld = 10000;  // as many as an engine keeps for replay
constexpr Duration kCoolDown = std::chrono::seconds(30);

}  // namespace

KvFeed::KvFeed(KvFeedSettings settings, Sink sink) : settings_(std::move(settings)), sink_(std::move(sink)) {}

void KvFeed::on_message(const std::string& name, std::uint64_t sequence, std::span<const std::uint8_t> payload, TimePoint now) {
  ++counts_.messages;
  Source& source = sources_[name];
  if (source.last_live && sequence <= *source.last_live) start_anew(name, source);
  source.last_live = sequence;
  if (sequence < source.expected) return;  // a replay has brought it already
  auto batch = parse_kv_events(payload);
  if (!batch.ok()) ++counts_.malformed;
  KvEventBatch events = batch.ok() ? std::move(*batch) : KvEventBatch{};
  if (sequence == source.expected) {
    accept(name, source, sequence, std::move(events));
    return release_held(name, source);
  }
  if (!source.behind) ++counts_.gaps;
  source.behind = true;
  source.held.push_back({sequence, std::move(events)});
  if (settings_.replay_port == 0 || source.held.size() > kMostHeld) give_up_gap(name, source);
}

void KvFeed::accept(const std::string& name, Source& source, std::uint64_t sequence, KvEventBatch batch) {
  source.expected = sequence + 1;
  counts_.events += batch.events.size();
  if (!batch.events.empty()) sink_.apply(name, batch);
}

void KvFeed::release_held(const std::string& name, Source& source) {
  std::size_t used = 0;
  for (; used < source.held.size() && source.held[used].sequence <= source.expected; ++used) {
    Held& held = source.held[used];
    if (held.sequence == source.expected) accept(name, source, held.sequence, std::move(held.batch));
  }
  source.held.erase(source.held.begin(), source.held.begin() + static_cast<std::ptrdiff_t>(used));
  if (source.held.empty()) source.behind = false;
}

void KvFeed::give_up_gap(const std::string& name, Source& source) {
  counts_.lost_messages += source.held.front().sequence - source.expected;
  source.expected = source.held.front().sequence;
  release_held(name, source);
}

void KvFeed::start_anew(const std::string& name, Source& source) {
  ++counts_.restarts;
  sink_.forget(name);
  source = {};
}

std::vector<ReplayRequest> KvFeed::take_replays(TimePoint now) {
  std::vector<ReplayRequest> requests;
  if (settings_.replay_port == 0) return requests;
  auto running = static_cast<std::size_t>(
      std::count_if(sources_.begin(), sources_.end(), [](const auto& each) { return each.second.replaying; }));
  for (auto& [name, source] : sources_) {
    const bool cool = !source.replay_asked || *source.replay_asked + kCoolDown <= now;
    if (!source.behind || source.replaying || !cool || running >= kMostReplays) continue;
    source.replaying = true;
    source.replay_asked = now;
    ++running;
    ++counts_.replays;
    requests.push_back({name, source.expected});
  }
  return requests;
}

void KvFeed::on_replayed(const std::string& name, std::uint64_t sequence, std::span<const std::uint8_t> payload) {
  const auto found = sources_.find(name);
  if (found == sources_.end() || !found->second.replaying || sequence != found->second.expected) return;
  auto batch = parse_kv_events(payload);
  if (!batch.ok()) ++counts_.malformed;
  accept(name, found->second, sequence, batch.ok() ? std::move(*batch) : KvEventBatch{});
}

void KvFeed::on_replay_end(const std::string& name) {
  const auto found = sources_.find(name);
  if (found == sources_.end() || !found->second.replaying) return;
  Source& source = found->second;
  source.replaying = false;
  release_held(name, source);
  if (source.behind) give_up_gap(name, source);
}

void KvFeed::remove(const std::string& name) { sources_.erase(name); }

std::string_view topic_source(std::string_view topic, std::string_view filter) {
  if (!topic.starts_with(filter)) return {};
  const std::size_t first = topic.find('@');
  if (first == std::string_view::npos) return {};
  topic.remove_prefix(first + 1);
  return topic.substr(0, topic.find('@'));
}

}  // namespace braid::router
