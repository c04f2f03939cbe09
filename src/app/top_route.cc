// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <set>

#include "app/top_frame.h"
#include "app/top_text.h"

namespace braid::app {
namespace {

using metrics::Sample;
using metrics::Samples;

constexpr const char* kDecisions = "llm_d_epp_scheduler_attempts_total";
constexpr const char* kQueue = "llm_d_epp_per_endpoint_queue_size";
constexpr const char* kEndpoint = "endpoint_name";

double total(const Samples& samples, const char* name) {
  double sum = 0;
  for (const Sample* s : samples.named(name)) sum += s->value;
  return sum;
}

// The fullest stage.
double saturation(const Samples& samples) {
  double most = 0;
  for (const Sample* s : samples.named("llm_d_epp_flow_control_pool_saturation")) most = std::max(most, s->value);
  return most;
}

class RouteFrame {
 public:
  RouteFrame(const Samples& now, const Samples& before, double seconds) : now_(now), before_(before), seconds_(seconds) {
    for (const char* name : {kQueue, kDecisions}) {
      for (const Sample* s : now.named(name)) {
        if (const auto endpoint = s->labels.find(kEndpoint); endpoint != s->labels.end() && !endpoint->second.empty()) endpoints_.insert(endpoint->second);
      }
    }
  }

  std::vector<std::string> lines() const {
    std::vector<std::string> lines;
    lines.push_back(format("router, %.0f endpoints answer, %.0f do not", total(now_, "llm_d_epp_ready_endpoints"), total(now_, "braid_route_dead_endpoints")));
    lines.push_back(format("%.0f requests under way, %.0f wait in the router, saturation %.2f", total(now_, "llm_d_epp_request_running"),
                           total(now_, "llm_d_epp_flow_control_queue_size"), saturation(now_)));
    lines.push_back(format("requests/s %s, errors/s %s, retries %.0f, broken streams %.0f", rate("llm_d_epp_request_total").c_str(),
                           rate("llm_d_epp_request_error_total").c_str(), total(now_, "braid_route_retries_total"), total(now_, "braid_route_broken_streams_total")));
    lines.emplace_back();
    const double all = total(now_, kDecisions);
    lines.push_back(format("%-32s %8s %12s %12s  %s", "endpoint", "waiting", "requests/s", "requests", "share"));
    for (const std::string& endpoint : endpoints_) lines.push_back(line(endpoint, all));
    return lines;
  }

 private:
  std::string line(const std::string& endpoint, double all) const {
    const double decisions = now_.sum(kDecisions, kEndpoint, endpoint), share = all > 0 ? decisions / all : 0;
    return format("%-32s %8.0f %12s %12.0f  %s %3.0f %%", endpoint.c_str(), now_.sum(kQueue, kEndpoint, endpoint),
                  per_second(decisions - before_.sum(kDecisions, kEndpoint, endpoint)).c_str(), decisions, bar(share).c_str(), 100 * share);
  }

  std::string per_second(double more) const { return seconds_ > 0 ? format("%.1f", std::max(0.0, more) / seconds_) : "-"; }
  std::string rate(const char* name) const { return per_second(total(now_, name) - total(before_, name)); }

  const Samples& now_;
  const Samples& before_;
  const double seconds_;
  std::set<std::string> endpoints_;
};

}  // namespace

bool is_router(const Samples& samples) { return !samples.named("llm_d_epp_ready_endpoints").empty(); }

std::vector<std::string> top_route(const Samples& now, const Samples& before, double seconds) { return RouteFrame(now, before, seconds).lines(); }

}  // namespace braid::app
