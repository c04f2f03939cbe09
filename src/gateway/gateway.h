// SPDX-License-Identifier: Apache-2.0
// The HTTP face of the router: clients on one side, the endpoints of all discoveries on the other, one
// event loop for both.
//
//   POST /v1/..., /v2/..., /inference/..., /tokenize, ...   go to an endpoint
//   GET  /health        200 while the process lives
//   GET  /readyz        200 when requests can be served as configured, else 503 with the reasons
//   GET  /metrics       llm-d's names and our own
//   GET  /dashboard, /dashboard/data
//   GET  /debug/report
//   POST /peers/in-flight   of other routers (peers.h)
//   GET  /debug/decisions/{x-request-id}, /debug/state
// Everything else is 404: what controls an engine is not reachable through the gateway.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "gateway/settings.h"
#include "router/picker_config.h"
#include "router/resources.h"

namespace braid::gateway {

// A bug report around what the dashboard shows, without secrets.
using ReportWriter = std::function<std::string(const std::string& dashboard, const std::string& metrics)>;

// Thread safety: every method from any thread but the gateway's own.
class Gateway {
 public:
  // Errors: a configuration that the router refuses, endpoints that cannot be read, a port in use.
  static Result<std::unique_ptr<Gateway>> start(const RouteSettings& settings, const router::PickerConfig& config, router::Resources resources,
                                                ReportWriter report = {});
  virtual ~Gateway() = default;  // ends what is left at once

  virtual int port() const = 0;
  // Refuses what waits and what comes, lets requests that are being answered end until `timeout`.
  virtual void drain(Duration timeout) = 0;
};

}  // namespace braid::gateway
