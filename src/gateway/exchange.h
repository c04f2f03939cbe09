// SPDX-License-Identifier: Apache-2.0
// One request on its way through the gateway:
//
//   read -> admitted -> [token ids] -> decision -> [prefill elsewhere] -> sent -> streamed -> accounted
//
// A prefiller that tells early where keys and values will be has its request sent on to the decode server while
// it still computes. What the decode server then answers counts only if the prefill does not fail: an error of
// both is the prefill's, and one of the decode server alone is tried again when the prefill has ended.
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

#include "gateway/collect.h"
#include "gateway/passage.h"
#include "gateway/relay.h"
#include "gateway/transfer_bodies.h"
#include "net/http_server.h"

namespace braid::gateway {

// Whether the gateway leaves the body of a request with this head where it is until there is a decision.
bool streams_body(const net::Request& head);

class Exchange final : public Passage {
 public:
  Exchange(Core& core, net::Request&& request, std::shared_ptr<net::ResponseWriter> client);

  void start();
  void evict() override;

 private:
  std::shared_ptr<Exchange> self() { return std::static_pointer_cast<Exchange>(shared_from_this()); }
  void decided() override { attempt(); }
  void refused(const Refused& refused) override;
  void attempt();
  void prefill(const router::EndpointId& endpoint);
  void promised(const std::vector<net::Header>& headers);
  void decode_whole(PrefillAnswer told);
  void prefilled(const router::EndpointId& endpoint, Result<Collected> answer);
  void prefill_failed(const router::EndpointId& endpoint, const Result<Collected>& answer);
  // Of two legs that run one is no longer wanted.
  void drop_prefill();
  void drop_decode();
  void decode();
  bool on_head(int status, const std::vector<net::Header>& headers);
  void on_end(const RelayEnd& end);
  void ended(const RelayEnd& end);
  void on_failure(const RelayEnd& end);
  // Decides again without the endpoints that failed so far. False: there is no other, or it has been
  // tried often enough; then nothing has changed.
  bool try_other(const router::EndpointId& failed, const std::string& why);
  // Goes on with another endpoint, or waits for one where requests may wait. False: this is the end.
  bool goes_on(const router::EndpointId& failed, const std::string& why);
  net::PoolRequest wire_to(const router::EndpointId& endpoint, std::string_view body) const;
  void take_body();
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
  std::string prefill_body_;
  std::string decode_body_;
  std::string leg_id_;        // x-request-id of both legs
  std::optional<PrefillAnswer> transfer_;
  std::optional<PrefillAnswer> whole_;  // told at the prefill's end, while decoding has begun from an early answer
  bool early_ = false;                  // decoding began before the prefill's end, which may be why it fails
  bool decode_failed_ = false;
  net::ClientPool::CallId prefill_call_ = 0;
  std::shared_ptr<Relay> relay_;
};

}  // namespace braid::gateway
