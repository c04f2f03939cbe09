// SPDX-License-Identifier: Apache-2.0
// One request on its way through the gateway:
//
//   read -> admitted -> [token ids] -> decision -> [prefill elsewhere] -> sent -> streamed -> accounted
//
// While the client has nothing of an answer, a server that cannot be reached, breaks off or says that it
// cannot serve now (429, 502, 503) costs only another decision among the others.
// Thread rules: the event loop's thread only.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "gateway/collect.h"
#include "gateway/core.h"
#include "gateway/relay.h"
#include "gateway/transfer_bodies.h"
#include "net/http_server.h"
#include "router/router.h"

namespace braid::gateway {

class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(Core& core, net::Request&& request, std::shared_ptr<net::ResponseWriter> client);

  void start();
  // The decision of a request that waited in flow control.
  void settle(router::Decision decision);
  // More urgent requests need its place.
  void evict();

 private:
  void fetch_tokens(const router::TokenSource& source);
  void submit();
  void attempt();
  void prefill(const router::EndpointId& endpoint);
  void prefilled(const router::EndpointId& endpoint, Result<Collected> answer);
  void decode();
  bool on_head(int status, const std::vector<net::Header>& headers);
  void on_piece(std::int64_t events);
  void on_end(const RelayEnd& end);
  void on_failure(const RelayEnd& end);
  // Decides again without the endpoints that failed so far. False: there is no other, or it has been
  // tried often enough; then nothing has changed.
  bool try_other(const router::EndpointId& failed, const std::string& why);
  // The body that the endpoint gets, before it is divided.
  std::string_view body();
  net::PoolRequest wire_to(const router::EndpointId& endpoint, std::string_view body) const;
  void answer_error(int status, const Error& error, std::string_view reason = {}, std::optional<int> retry_after = std::nullopt);
  void account(int status, const Usage& usage = {});
  void finish(int status, const RelayEnd& end);
  void client_left();

  Core& core_;
  const std::shared_ptr<net::ResponseWriter> client_;
  const TimePoint began_;
  net::Request incoming_;  // its body has moved to request_
  std::string id_;
  std::shared_ptr<router::RoutedRequest> request_;
  std::shared_ptr<router::Decision> decision_;
  std::optional<router::Ticket> ticket_;
  std::optional<router::FlightId> flight_;
  std::set<std::string> failed_;
  int attempts_ = 0;
  bool another_ = false;  // the running answer was given up for that of another endpoint
  bool evicted_ = false;
  bool gone_ = false;  // the client
  std::optional<TimePoint> first_piece_;
  std::string renamed_body_;  // with the model's name as the endpoint has it
  std::string divided_body_;  // of the leg that runs
  std::string leg_id_;        // x-request-id of both legs
  std::optional<PrefillAnswer> transfer_;
  net::ClientPool::CallId side_call_ = 0;  // prefill or token ids
  std::shared_ptr<Relay> relay_;
};

}  // namespace braid::gateway
