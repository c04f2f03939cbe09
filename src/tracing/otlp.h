// SPDX-License-Identifier: Apache-2.0
// Spans as an ExportTraceServiceRequest of OTLP, in its JSON form.
#pragma once

#include <span>
#include <string>

#include "tracing/span.h"

namespace braid::tracing {

// `epoch`: what the steady clock showed at the beginning of Unix time, in this process's reckoning.
std::string to_otlp(std::span<const Span> spans, const std::string& service, TimePoint epoch);

}  // namespace braid::tracing
