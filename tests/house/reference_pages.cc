// SPDX-License-Identifier: Apache-2.0
// Prints docs/reference/config.md, metrics.md or router.md from what the layers describe.
// A layer's settings and metrics structs are listed here once.
#include <cstdio>
#include <string>
#include <string_view>

#include "app/settings.h"
#include "config/reference.h"
#include "engine/balance_metrics.h"
#include "engine/metrics.h"
#include "gateway/metrics.h"
#include "gateway/settings.h"
#include "metrics/registry.h"
#include "router/catalog.h"
#include "router/metrics.h"
#include "router/picker_config.h"
#include "tracing/metrics.h"

namespace braid {
namespace {

constexpr std::string_view kWritten =
    "<!-- Written by `make reference`; a test compares it with the code. -->\n\n";

std::string config_page() {
  std::string page = "# Settings\n\n" + std::string(kWritten);
  page +=
      "Each setting can come from a file (`--config serve.yaml`, the names below as keys), from the\n"
      "environment (`BRAID_` and the name in capitals, dashes as underscores) or from a flag. A flag\n"
      "wins over the environment, the environment over the file, the file over the default.\n"
      "Dashes and underscores are the same in flags and keys.\n\n";
  page += config::markdown<app::ServeSettings>("braid serve", "");
  page += config::markdown<gateway::RouteSettings>("braid route", "");
  page += config::markdown<gateway::SidecarSettings>("braid sidecar", "");
  page.pop_back();
  return page;
}

std::string metrics_page() {
  const engine::Metrics metrics;
  const engine::BalanceMetrics balance;
  const metrics::Labels labels{{"model_name", ""}, {"engine", ""}};
  metrics::Registry registry;
  registry.add(metrics, labels);
  registry.add(balance, labels);
  const tracing::Metrics traces;
  registry.add(traces);
  const router::Metrics decisions;
  const gateway::Metrics gateway;
  metrics::Registry routing;
  routing.add(decisions);
  routing.add(gateway);
  routing.add(traces);
  return "# Metrics\n\n" + std::string(kWritten) +
         "Prometheus text format 0.0.4.\n\n## Engine\n\n" + registry.markdown() + "\n## Router\n\n" + routing.markdown();
}

std::string router_page() {
  router::ParameterPage keys;
  router::PickerConfig config;
  router::PickerConfig::describe(config, keys);
  return "# Endpoint picker\n\n" + std::string(kWritten) +
         "`EndpointPickerConfig` of llm-d, in YAML. `docs/life-of-a-routing-decision.md` tells what becomes of it. A score counts\n"
         "between 0 and 1; an endpoint's total is the sum of weight times score.\n\n## Keys\n\n"
         "| key | default | meaning |\n|---|---|---|\n" + keys.rows() + "\n## Plugins\n\n" + router::plugins_markdown();
}

}  // namespace
}  // namespace braid

int main(int argc, char** argv) {
  const std::string_view which = argc == 2 ? argv[1] : "";
  if (which != "config" && which != "metrics" && which != "router") {
    std::fputs("usage: reference_pages config|metrics|router\n", stderr);
    return 2;
  }
  const std::string page = which == "config" ? braid::config_page() : which == "metrics" ? braid::metrics_page() : braid::router_page();
  std::fwrite(page.data(), 1, page.size(), stdout);
  return 0;
}
