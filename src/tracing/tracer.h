// SPDX-License-Identifier: Apache-2.0
// Begins spans and hands them on when they end. Thread safety: every method from any thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "tracing/exporter.h"
#include "tracing/settings.h"
#include "tracing/span.h"

namespace braid::tracing {

class Tracer {
 public:
  // Null: the settings name no collector. `service` is service.name of all spans, unless $OTEL_SERVICE_NAME is
  // set. `metrics` outlives it.
  static Result<std::unique_ptr<Tracer>> start(const Settings& settings, std::string service, Metrics& metrics);

  // The span of a request that came with this traceparent header, or with none.
  Span root(std::string name, std::string_view traceparent, TimePoint begin) const;
  // A part of `parent`.
  static Span child(const Span& parent, std::string name, Kind kind, TimePoint begin);

  void end(Span&& span, TimePoint at);

 private:
  Tracer(std::unique_ptr<Exporter> exporter, double ratio) : exporter_(std::move(exporter)), ratio_(ratio) {}

  const std::unique_ptr<Exporter> exporter_;
  const double ratio_;
};

}  // namespace braid::tracing
