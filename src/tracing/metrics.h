// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "metrics/metrics.h"

namespace braid::tracing {

struct Metrics {
  metrics::Counter exported;
  metrics::Family<metrics::Counter> dropped{{"reason"}};

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.metric("braid_trace_spans_exported", self.exported, "Spans that the collector of traces has taken");
    v.metric("braid_trace_spans_dropped", self.dropped, "Spans that were lost: queue_full, unreachable or refused by the collector");
  }
};

}  // namespace braid::tracing
