// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "app/commands.h"
#include "engine/balance_metrics.h"
#include "engine/metrics.h"
#include "metrics/registry.h"

namespace braid::app {

int metrics(Words words) {
  if (!words.empty() && is_help(words[0])) {
    std::puts("usage: braid metrics [--markdown]\n\nLists what a server tells at /metrics, as a Markdown table.");
    return 0;
  }
  if (words.size() > 1 || (words.size() == 1 && words[0] != "--markdown")) {
    return fail(invalid_argument("metrics takes --markdown or nothing, found '" + words.back() + "'"));
  }
  const engine::Metrics metrics;
  const engine::BalanceMetrics balance;
  metrics::Registry registry;
  const metrics::Labels labels{{"model_name", ""}, {"engine", ""}};
  registry.add(metrics, labels);
  registry.add(balance, labels);
  std::fputs(registry.markdown().c_str(), stdout);
  return 0;
}

}  // namespace braid::app
