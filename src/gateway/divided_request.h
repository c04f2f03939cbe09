// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: one request on its way through the sidecar.
// Thread rules: the event loop's thread only.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/allow_list.h"
#include "gateway/collect.h"
#include "gateway/endpoint_list.h"
#include "gateway/journey.h"
#include "gateway/relay.h"
#include "gateway/settings.h"
#include "gateway/transfer_bodies.h"
#include "net/event_loop.h"

namespace braid::gateway {

// What the requests of a sidecar share.
struct SidecarCore {
  SidecarSettings settings;
  std::shared_ptr<net::EventLoop> loop;
  std::unique_ptr<net::ClientPool> upstream;
  std::unique_ptr<AllowList> allowed;  // prefillers; null: all
  std::vector<int> decoder_ports;  // by rank
  SteadyClock clock;
  tracing::Metrics trace_metrics;
  std::unique_ptr<tracing::Tracer> tracer;  // null: no traces
};

class DividedRequest : public std::enable_shared_from_this<DividedRequest> {
 public:
  DividedRequest(SidecarCore& core, int rank, net::Request&& request, std::shared_ptr<net::ResponseWriter> client);
  void start();

 private:
  Status read_prefillers(std::string_view header);
  void prefill();
  void promised(const std::vector<net::Header>& headers);
  void decode_whole(PrefillAnswer told);
  void prefilled(Result<Collected> answer);
  // Of two legs that run, as in exchange.h.
  void drop_prefill();
  void drop_decode();
  void decode();
  void on_end(const RelayEnd& end);
  net::PoolRequest wire_to(const std::string& host, int port, std::string_view body) const;
  void finish(int status, const std::string& why);
  void answer_error(int status, const std::string& message, bool retry_later = false);

  SidecarCore& core_;
  const std::shared_ptr<net::ResponseWriter> client_;
  net::Request request_;
  int decoder_port_ = 0;
  std::string leg_id_;  // x-request-id of both legs; empty: not divided
  std::vector<HostPort> prefillers_;
  std::size_t next_ = 0;
  int tries_ = 0;
  std::string prefill_body_;
  std::string decode_body_;
  std::optional<PrefillAnswer> transfer_;
  net::ClientPool::CallId prefill_call_ = 0;
  std::shared_ptr<Relay> relay_;
  std::optional<PrefillAnswer> whole_;  // told at the prefill's end, while decoding has begun from an early answer
  bool early_ = false;                  // decoding began before the prefill's end, which may be why it fails
  bool decode_failed_ = false;
  bool gone_ = false;
  Journey journey_;
};

}  // namespace braid::gateway
