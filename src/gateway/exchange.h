// SPDX-License-Identifier: Apache-2.0
// One request on its way through the gateway:
//
//   read -> admitted -> [token ids] -> decision -> [prefill elsewhere] -> sent -> streamed -> accounted
//
// A prefiller that tells early where keys and values will be has its request sent on to the decode server while
// it still computes (two_legs.h).
//
// While the client has nothing of an answer, a server that cannot be reached, breaks off or says that it
// cannot serve now (429, 502, 503) costs only another decision among the others. When the last one leaves, a
// request that flow control may keep waits for the next. Long bodies that no decision looks at
// (streams_body) go to the endpoint as they come, no faster than it reads; once some of one is sent there
// is no other endpoint.
// Thread rules: the event loop's thread only.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "gateway/passage.h"
#include "gateway/two_legs.h"
#include "net/http_server.h"

namespace braid::gateway {

// Whether the gateway leaves the body of a request with this head where it is until there is a decision.
bool streams_body(const net::Request& head);

class Exchange final : public Passage, public TwoLegs::Owner {
 public:
  Exchange(Core& core, net::Request&& request, std::shared_ptr<net::ResponseWriter> client);

  void start();
  void evict() override;

 private:
  std::shared_ptr<Exchange> self() { return std::static_pointer_cast<Exchange>(shared_from_this()); }
  void decided() override { attempt(); }
  void refused(const Refused& refused) override;
  void attempt();
  void prefill();
  void prefilled(const PrefillAnswer& told) override;
  void prefill_failed(Result<Collected> answer, bool matters) override;
  void start_decode() override;
  bool on_head(int status, const std::vector<net::Header>& headers) override;
  void on_piece(std::int64_t events) override { Passage::on_piece(events); }
  void on_writable() override;
  void decoded(const RelayEnd& end) override;
  void on_failure(const RelayEnd& end);
  // Decides again without the endpoints that failed so far. False: there is no other, or it has been
  // tried often enough; then nothing has changed.
  bool try_other(const router::EndpointId& failed, const std::string& why);
  // Goes on with another endpoint, or waits for one where requests may wait. False: this is the end.
  bool goes_on(const router::EndpointId& failed, const std::string& why);
  net::PoolRequest wire_to(const router::EndpointId& endpoint, std::string_view body) const;
  void end(int status, const RelayEnd& end);
  void client_left();
  void cancel();

  const std::shared_ptr<net::ResponseWriter> client_;
  net::Request incoming_;  // its body has moved to request_
  const std::shared_ptr<net::BodyReader> stream_;  // null: the body is all here
  std::set<std::string> failed_;
  bool another_ = false;  // the running answer was given up for that of another endpoint
  bool will_wait_ = false;  // or for an endpoint that is to come
  bool evicted_ = false;
  bool gone_ = false;  // the client
  bool body_begun_ = false;  // some of a body that streams may be sent
  TwoLegs legs_;
};

}  // namespace braid::gateway
