// SPDX-License-Identifier: Apache-2.0
#include "app/plan_settings.h"

#include <fstream>
#include <sstream>

namespace braid::app {

Result<planning::ClusterOptions> cluster_options(const PlanSettings& settings) {
  planning::ClusterOptions options;
  ASSIGN_OR_RETURN(options.model, planning::read_shape(settings.model));
  ASSIGN_OR_RETURN(options.costs, planning::read_cost_table(settings.costs));
  if (settings.memory > 0) options.costs.memory_bytes = settings.memory * 1e9;
  ASSIGN_OR_RETURN(options.layout, planning::parse_layout(settings.layout));
  options.choices = settings.choices();
  if (!settings.router_config.empty()) {
    std::ifstream file(settings.router_config);
    if (!file) return Error{ErrorCode::kNotFound, "can't read " + settings.router_config, "router-config"};
    std::stringstream text;
    text << file.rdbuf();
    ASSIGN_OR_RETURN(options.picker, router::parse_picker_config(text.str(), settings.router_config));
  }
  return options;
}

Result<std::vector<planning::TrafficRequest>> traffic_of(const PlanSettings& settings) {
  if (!settings.trace.empty()) return planning::read_trace(settings.trace, settings.speed);
  return planning::poisson_traffic({settings.rate, settings.duration, settings.input, settings.output, 1});
}

}  // namespace braid::app
