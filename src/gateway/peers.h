// SPDX-License-Identifier: Apache-2.0
// Routers in front of the same endpoints tell each other what they have in flight there, a few times each second, so
// that all go by the load of all:
//
//   POST /peers/in-flight, with the shared key as bearer token
//   {"router": ID, "in_flight": [{"producer", "endpoint", "requests", "tokens"}, ...]}   ->   {"router": ID}
//
// Every address of a peer's name is a router; this one may be among them, and notices by the answer. What a router
// has told counts until it tells anew, and no longer than kHeldIntervals if it tells nothing.
// Thread rules: the event loop's thread only.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gateway/collect.h"
#include "gateway/core.h"
#include "gateway/endpoint_list.h"
#include "net/http_server.h"

namespace braid::gateway {

inline constexpr std::string_view kPeersPath = "/peers/in-flight";

struct PeersOptions {
  std::vector<HostPort> names;
  std::string key;  // not empty
  Duration interval = std::chrono::milliseconds(100);
  Duration name_interval = std::chrono::seconds(5);
};

class Peers {
 public:
  static constexpr int kHeldIntervals = 10;
  // None: this router neither tells others nor hears them. Errors: a peer that is no host:port, no key.
  static Result<std::optional<PeersOptions>> options(const RouteSettings& settings);

  // `core` outlives it. Tells nobody before the first look-ups have answered.
  Peers(Core& core, PeersOptions options);
  ~Peers() { *alive_ = false; }

  // A request for kPeersPath.
  void handle(const net::Request& request, net::ResponseWriter& client);

 private:
  struct Peer {
    HostPort place;
    bool asked = false;  // and has not answered yet
    bool itself = false;
    bool complained = false;
  };
  struct Told {
    std::vector<router::InFlight> loads;
    TimePoint until;
  };

  void look_up(const HostPort& name);
  void tick();
  void forget_silent();
  void tell(const std::shared_ptr<Peer>& peer, const std::shared_ptr<const std::string>& body);
  void told(Peer& peer, const Result<Collected>& answer);
  void count_others();

  Core& core_;
  const PeersOptions options_;
  const std::string id_ = new_request_id();
  std::map<std::string, std::vector<std::shared_ptr<Peer>>> peers_;  // by name and port
  std::map<std::string, Told> others_;                               // by id
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace braid::gateway
