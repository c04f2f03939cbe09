// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: one request on its way through the sidecar.
// Thread rules: the event loop's thread only.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/allow_list.h"
#include "gateway/endpoint_list.h"
#include "gateway/journey.h"
#include "gateway/settings.h"
#include "gateway/two_legs.h"
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

class DividedRequest : public std::enable_shared_from_this<DividedRequest>, public TwoLegs::Owner {
 public:
  DividedRequest(SidecarCore& core, int rank, net::Request&& request, std::shared_ptr<net::ResponseWriter> client);
  void start();

 private:
  Status read_prefillers(std::string_view header);
  void prefill();
  void prefilled(const PrefillAnswer& told) override;
  void prefill_failed(Result<Collected> answer, bool matters) override;
  void prefill_again(const Result<Collected>& failed);
  void start_decode() override;
  bool on_head(int status, const std::vector<net::Header>& headers) override;
  void on_piece(std::int64_t) override {}
  void on_writable() override {}
  void decoded(const RelayEnd& end) override;
  net::PoolRequest wire_to(const std::string& host, int port, std::string_view body) const;
  void finish(int status, const std::string& why);
  void answer_error(int status, const std::string& message, bool retry_later = false);

  SidecarCore& core_;
  const std::shared_ptr<net::ResponseWriter> client_;
  net::Request request_;
  int decoder_port_ = 0;
  std::vector<HostPort> prefillers_;
  std::size_t next_ = 0;
  int tries_ = 0;
  bool gone_ = false;
  Journey journey_;
  TwoLegs legs_;
};

}  // namespace braid::gateway
