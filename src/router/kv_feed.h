// SPDX-License-Identifier: Apache-2.0
// Follows the KV event streams of engines: checks that no message is missing, asks for replays, and
// hands the events in order to an index.
//
// Each source (one publisher: an engine's rank) numbers its messages from 0. A message that is ahead
// of the expected one leaves a gap: what follows is held back, and a replay from the first missing
// one is asked for. A number that does not grow means that the engine has started anew: its blocks are
// forgotten, and what it has published since then is a gap like any other. What cannot be replayed is given up after a while,
// and counted; a stored block whose parent was lost is counted too, never guessed.
//
// Thread rules: those of the router that owns it. The caller owns the sockets.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "router/kv_events.h"

namespace braid::router {

// From which port engines publish, as in `kvEventsConfig` (llm-d). Port and replay port are those of
// rank 0; rank i publishes on port + i.
struct KvFeedSettings {
  std::string central_endpoint;  // zmqEndpoint: one socket that engines connect to; empty: dial each
  std::string topic_filter = "kv@";
  int port = 5557;
  int replay_port = 0;  // 0: engines cannot replay
};

// A replay that the caller shall ask of the source: messages from `from` on.
struct ReplayRequest {
  std::string source;
  std::uint64_t from = 0;
};

struct KvFeedCounts {
  std::uint64_t messages = 0;
  std::uint64_t events = 0;
  std::uint64_t gaps = 0;
  std::uint64_t restarts = 0;
  std::uint64_t replays = 0;
  std::uint64_t lost_messages = 0;  // given up
  std::uint64_t malformed = 0;
};

class KvFeed {
 public:
  // `apply(source, batch)` gets every batch in order; `forget(source)` an engine that started anew.
  struct Sink {
    std::function<void(const std::string& source, const KvEventBatch& batch)> apply;
    std::function<void(const std::string& source)> forget;
  };
  KvFeed(KvFeedSettings settings, Sink sink);

  const KvFeedSettings& settings() const { return settings_; }

  // One message of a source. `source` is the endpoint's name; with a central socket it is what
  // topic_source() makes of the topic.
  void on_message(const std::string& source,
                  std::uint64_t sequence,
                  std::span<const std::uint8_t> payload,
                  TimePoint now);

  // Replays to ask for now. At most 8 at once; one of a source is repeated after 30 s at the soonest.
  std::vector<ReplayRequest> take_replays(TimePoint now);
  // An answer to a replay, and its end: an empty payload, or that nothing came for 2 s or the whole
  // took 2 min.
  void on_replayed(const std::string& source,
                   std::uint64_t sequence,
                   std::span<const std::uint8_t> payload);
  void on_replay_end(const std::string& source);

  // The source has left for good.
  void remove(const std::string& source);

  const KvFeedCounts& counts() const { return counts_; }
  // Whether this source has ever sent a message.
  bool heard(const std::string& source) const { return sources_.contains(source); }

 private:
  struct Held {
    std::uint64_t sequence;
    KvEventBatch batch;
  };
  struct Source {
    std::uint64_t expected = 0;
    std::optional<std::uint64_t> last_live;  // number of the newest message that was not replayed
    bool behind = false;
    bool replaying = false;
    std::optional<TimePoint> replay_asked;
    std::vector<Held> held;  // ascending, all above `expected`
  };

  void accept(const std::string& name, Source& source, std::uint64_t sequence, KvEventBatch batch);
  void start_anew(const std::string& name, Source& source);
  void release_held(const std::string& name, Source& source);
  void give_up_gap(const std::string& name, Source& source);

  KvFeedSettings settings_;
  Sink sink_;
  KvFeedCounts counts_;
  std::map<std::string, Source, std::less<>> sources_;
};

// "kv@10.0.0.1:8000@model" -> "10.0.0.1:8000"; "" if the topic is none of the filter's.
std::string_view topic_source(std::string_view topic, std::string_view filter);

}  // namespace braid::router
