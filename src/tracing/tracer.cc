// SPDX-License-Identifier: Apache-2.0
#include "tracing/tracer.h"

#include <cstdlib>
#include <utility>

namespace braid::tracing {

Result<std::unique_ptr<Tracer>> Tracer::start(const Settings& settings, std::string service, Metrics& metrics) {
  if (settings.endpoint.empty()) return std::unique_ptr<Tracer>();
  if (const char* named = std::getenv("OTEL_SERVICE_NAME"); named != nullptr && *named != '\0') service = named;
  ASSIGN_OR_RETURN(auto exporter, Exporter::start(settings.endpoint, std::move(service), metrics));
  return std::unique_ptr<Tracer>(new Tracer(std::move(exporter), settings.ratio));
}

Span Tracer::root(std::string name, std::string_view traceparent, TimePoint begin) const {
  const auto parent = parse_traceparent(traceparent);
  Span span;
  span.name = std::move(name);
  span.kind = Kind::kServer;
  span.context = new_context(parent, ratio_);
  if (parent) span.parent = parent->span;
  span.begin = begin;
  return span;
}

Span Tracer::child(const Span& parent, std::string name, Kind kind, TimePoint begin) {
  Span span;
  span.name = std::move(name);
  span.kind = kind;
  span.context = new_context(parent.context, 1);
  span.parent = parent.context.span;
  span.begin = begin;
  return span;
}

void Tracer::end(Span&& span, TimePoint at) {
  if (!span.context.sampled) return;
  span.end = at;
  exporter_->add(std::move(span));
}

}  // namespace braid::tracing
