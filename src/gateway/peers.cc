// SPDX-License-Identifier: Apache-2.0
#include "gateway/peers.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "base/log.h"
#include "dashboard/dashboard.h"
#include "net/resolve.h"
#include "protocol/error_json.h"

namespace braid::gateway {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kLongestAnswer = 4096;
constexpr std::int64_t kMostCounted = std::int64_t{1} << 50;

struct Message {
  std::string router;
  std::vector<router::InFlight> loads;
};

std::string write_message(const std::string& router, const std::vector<router::InFlight>& loads) {
  Json list = Json::array();
  for (const router::InFlight& load : loads) {
    list.push_back({{"producer", load.producer}, {"endpoint", load.endpoint}, {"requests", load.requests}, {"tokens", load.tokens}});
  }
  return Json{{"router", router}, {"in_flight", std::move(list)}}.dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool is_count(const Json& entry, const char* key) { return entry.contains(key) && entry[key].is_number_integer() && entry[key] >= 0 && entry[key] <= kMostCounted; }
bool is_text(const Json& entry, const char* key) { return entry.contains(key) && entry[key].is_string(); }

Result<Message> read_message(const std::string& body) {
  const Json json = Json::parse(body, nullptr, false);
  const Error wrong = invalid_argument("expected {\"router\", \"in_flight\": [{\"producer\", \"endpoint\", \"requests\", \"tokens\"}]} of a peer with the same version");
  if (!json.is_object() || !is_text(json, "router") || !json.contains("in_flight") || !json["in_flight"].is_array()) return wrong;
  Message message{.router = json["router"], .loads = {}};
  for (const Json& entry : json["in_flight"]) {
    if (!entry.is_object() || !is_text(entry, "producer") || !is_text(entry, "endpoint") || !is_count(entry, "requests") || !is_count(entry, "tokens")) return wrong;
    message.loads.push_back({entry["producer"], entry["endpoint"], entry["requests"], entry["tokens"]});
  }
  return message;
}

std::string text_of(const HostPort& place) { return (place.host.find(':') == std::string::npos ? place.host : '[' + place.host + ']') + ':' + std::to_string(place.port); }

void refuse(net::ResponseWriter& client, int status, Error error) {
  client.send({.status = status, .body = protocol::error_body(std::move(error), status)});
}

}  // namespace

Result<std::optional<PeersOptions>> Peers::options(const RouteSettings& settings) {
  std::optional<PeersOptions> none;
  if (settings.peers.empty()) return none;
  if (settings.peer_key.empty()) return invalid_argument("--peers needs --peer-key (or BRAID_ROUTE_PEER_KEY): a word that all these routers share, and nobody else", "peer-key");
  PeersOptions options{.names = {}, .key = settings.peer_key, .interval = std::chrono::milliseconds(settings.peer_interval_ms),
                       .name_interval = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(settings.dns_interval_seconds))};
  for (std::string_view text : settings.peers) {
    while (!text.empty()) {
      const std::size_t comma = text.find(',');
      auto place = parse_host_port(text.substr(0, comma));
      if (!place.ok()) return invalid_argument("--peers: " + place.error().message, "peers");
      options.names.push_back(std::move(*place));
      text.remove_prefix(comma == text.npos ? text.size() : comma + 1);
    }
  }
  return std::optional(std::move(options));
}

Peers::Peers(Core& core, PeersOptions options) : core_(core), options_(std::move(options)) {
  if (!core_.router->counts_in_flight()) {
    log_warning("peers are told nothing and heard for nothing: no plugin of the configuration goes by requests in flight, as active-request-scorer does");
  }
  for (const HostPort& name : options_.names) look_up(name);
  tick();
}

void Peers::look_up(const HostPort& name) {
  net::resolve(*core_.loop, name.host, [this, alive = alive_, name](Result<std::vector<std::string>> found) {
    if (!*alive) return;
    if (found.ok()) {
      auto& known = peers_[text_of(name)];
      std::vector<std::shared_ptr<Peer>> now;
      for (const std::string& address : *found) {
        const auto same = std::find_if(known.begin(), known.end(), [&](const auto& peer) { return peer->place.host == address; });
        now.push_back(same != known.end() ? *same : std::make_shared<Peer>(Peer{.place = {address, name.port}}));
      }
      known = std::move(now);
    } else {
      log_warning("peers stay as they were", {{"why", found.error().message}});
    }
    core_.loop->after(options_.name_interval, [this, alive, name] {
      if (*alive) look_up(name);
    });
  });
}

void Peers::tick() {
  forget_silent();
  const auto body = std::make_shared<const std::string>(write_message(id_, core_.router->in_flight()));
  for (const auto& [name, peers] : peers_) {
    for (const auto& peer : peers) {
      if (!peer->itself && !peer->asked) tell(peer, body);
    }
  }
  core_.loop->after(options_.interval, [this, alive = alive_] {
    if (*alive) tick();
  });
}

void Peers::tell(const std::shared_ptr<Peer>& peer, const std::shared_ptr<const std::string>& body) {
  net::PoolRequest request;
  request.host = peer->place.host;
  request.port = peer->place.port;
  request.method = "POST";
  request.target = kPeersPath;
  request.headers = {{"content-type", "application/json"}, {"authorization", "Bearer " + options_.key}};
  request.body = *body;
  request.connect_timeout = request.silence_timeout = request.timeout = options_.interval * kHeldIntervals;
  peer->asked = true;
  collect(*core_.upstream, std::move(request), kLongestAnswer, [this, alive = alive_, peer, body](const Result<Collected>& answer) {
    peer->asked = false;
    if (*alive) told(*peer, answer);
  });
}

void Peers::told(Peer& peer, const Result<Collected>& answer) {
  if (answer.ok() && answer->status == 200) {
    const Json json = Json::parse(answer->body, nullptr, false);
    peer.itself = json.is_object() && json.value("router", Json()) == id_;
    if (!peer.itself) core_.metrics.peer_pushes.with({"done"}).add();
    if (std::exchange(peer.complained, false)) log_info("peer takes our load again", {{"peer", text_of(peer.place)}});
    return;
  }
  core_.metrics.peer_pushes.with({answer.ok() ? "refused" : "failed"}).add();
  if (std::exchange(peer.complained, true)) return;
  log_warning("peer does not take our load", {{"peer", text_of(peer.place)}, {"why", answer.ok() ? "status " + std::to_string(answer->status) : answer.error().message}});
}

void Peers::forget_silent() {
  const TimePoint now = core_.clock.now();
  if (std::erase_if(others_, [&](const auto& other) { return other.second.until <= now; }) != 0) count_others();
}

void Peers::handle(const net::Request& request, net::ResponseWriter& client) {
  if (!dashboard::has_key(request, {options_.key})) return refuse(client, 401, {ErrorCode::kInvalidArgument, "Unauthorized: routers that are peers must have the same --peer-key", {}});
  auto message = read_message(request.body);
  if (!message.ok()) return refuse(client, 400, message.error());
  if (message->router != id_) {
    others_[message->router] = {std::move(message->loads), core_.clock.now() + options_.interval * kHeldIntervals};
    count_others();
  }
  client.send({.body = Json{{"router", id_}}.dump()});
}

void Peers::count_others() {
  std::unordered_set<std::string_view> pool;
  for (const auto& endpoints : {core_.endpoints->usable(), core_.endpoints->dead()}) {
    for (const router::Endpoint& endpoint : endpoints) pool.insert(endpoint.id.name);
  }
  std::vector<router::InFlight> loads;
  std::int64_t requests = 0;
  for (const auto& [id, told] : others_) {
    for (const router::InFlight& load : told.loads) {
      requests += load.requests;
      if (pool.contains(load.endpoint)) loads.push_back(load);
    }
  }
  core_.router->set_others(loads);
  core_.metrics.peers.set(static_cast<double>(others_.size()));
  core_.metrics.peer_requests.set(static_cast<double>(requests));
  core_.poll_soon();
}

}  // namespace braid::gateway
