// SPDX-License-Identifier: Apache-2.0
#include "gateway/dashboard_data.h"

#include <nlohmann/json.hpp>

#include "base/version.h"
#include "metrics/samples.h"

namespace braid::gateway {
namespace {

using Json = nlohmann::ordered_json;
using metrics::Samples;

double total(const Samples& samples, const char* name) {
  double sum = 0;
  for (const metrics::Sample* s : samples.named(name)) sum += s->value;
  return sum;
}

Json endpoint_json(const router::Endpoint& endpoint, bool usable, const Samples& samples) {
  const router::EndpointState& state = endpoint.state;
  Json json = {{"name", endpoint.id.name}, {"address", endpoint.id.host_port()}, {"rank", endpoint.id.rank}, {"usable", usable},
               {"role", endpoint.label(router::kRoleLabel)}};
  const auto set = [&](const char* name, const std::optional<double>& value) { json[name] = value ? Json(*value) : Json(); };
  set("running", state.running);
  set("waiting", state.waiting);
  set("kv_usage", state.kv_usage);
  json["chosen"] = samples.sum("llm_d_epp_scheduler_attempts_total", "endpoint_name", endpoint.id.name);
  return json;
}

}  // namespace

std::string dashboard_data(const Core& core, std::string_view metrics, const std::vector<std::string>& missing, Duration uptime) {
  const Samples samples = Samples::parse(metrics);
  Json endpoints = Json::array();
  for (const router::Endpoint& endpoint : core.endpoints->usable()) endpoints.push_back(endpoint_json(endpoint, true, samples));
  for (const router::Endpoint& endpoint : core.endpoints->dead()) endpoints.push_back(endpoint_json(endpoint, false, samples));
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  Json json = {{"kind", "router"},
               {"version", version()},
               {"now_ms", std::chrono::duration<double, std::milli>(now).count()},
               {"uptime_seconds", to_seconds(uptime)},
               {"ready", missing.empty()},
               {"reasons", missing},
               {"endpoints", std::move(endpoints)}};
  json["totals"] = {{"requests", total(samples, "llm_d_epp_request_total")},
                    {"errors", total(samples, "llm_d_epp_request_error_total")},
                    {"running", total(samples, "llm_d_epp_request_running")},
                    {"queued", total(samples, "llm_d_epp_flow_control_queue_size")},
                    {"retries", total(samples, "braid_route_retries_total")},
                    {"prefills", total(samples, "braid_route_prefills_total")}};
  json["latency"] = {{"ttft", Json::parse(metrics::cumulative_json(samples, "llm_d_epp_request_ttft_seconds"))},
                     {"decision", Json::parse(metrics::cumulative_json(samples, "llm_d_epp_scheduler_e2e_duration_seconds"))}};
  std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.pop_back();
  return text + ",\"journeys\":" + core.journeys.json(core.clock.now()) + "}";
}

}  // namespace braid::gateway
