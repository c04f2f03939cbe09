// SPDX-License-Identifier: Apache-2.0
#include "engine/moe_metrics.h"

#include <string>

namespace braid::engine {

void MoeMetrics::observe(const moe::Traffic& t) {
  if (t.dispatches < seen_.dispatches) seen_ = {};
  const auto add = [](metrics::Counter& counter, auto now, auto before) { counter.add(static_cast<double>(now - before)); };
  add(dispatches_, t.dispatches, seen_.dispatches);
  add(dispatch_seconds_, t.dispatch_seconds, seen_.dispatch_seconds);
  add(combine_seconds_, t.combine_seconds, seen_.combine_seconds);
  add(dispatched_bytes_, t.dispatched_bytes, seen_.dispatched_bytes);
  add(returned_bytes_, t.returned_bytes, seen_.returned_bytes);
  add(tokens_, t.tokens, seen_.tokens);
  add(expert_rows_, t.pairs, seen_.pairs);
  add(padding_rows_, t.padding_rows, seen_.padding_rows);
  seen_.wait_seconds.resize(t.wait_seconds.size());
  for (std::size_t r = 0; r < t.wait_seconds.size(); ++r) {
    if (t.wait_seconds[r] > seen_.wait_seconds[r]) add(wait_seconds_.with({std::to_string(r)}), t.wait_seconds[r], seen_.wait_seconds[r]);
  }
  seen_ = t;
}

}  // namespace braid::engine
