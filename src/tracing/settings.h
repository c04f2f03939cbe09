// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "config/describe.h"

namespace braid::tracing {

struct Settings {
  std::string endpoint;
  double ratio = 1;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("otlp-traces-endpoint", self.endpoint,
            {.help = "Collector of OpenTelemetry that gets a span for every request and its parts, by OTLP over HTTP as JSON: "
                     "http://localhost:4318 (/v1/traces where no path is given); unset: none",
             .environment = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"});
    v.field("otlp-traces-ratio", self.ratio,
            {.help = "Share of the requests that are traced when they bring no traceparent header that decides", .min = 0, .max = 1,
             .environment = "OTEL_TRACES_SAMPLER_ARG"});
  }
};

}  // namespace braid::tracing
