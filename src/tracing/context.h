// SPDX-License-Identifier: Apache-2.0
// Where a request stands in a trace, as W3C's traceparent header says it:
//   00-<32 hex digits: trace>-<16 hex digits: span>-<2 hex digits: flags>
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace braid::tracing {

inline constexpr std::string_view kTraceParent = "traceparent";

struct Context {
  std::string trace;  // 32 lower-case hex digits, not all zero
  std::string span;   // 16, the same
  bool sampled = true;
};

// Nothing: `header` is not a traceparent, and the trace begins here. Later versions of the format are read
// as far as this one goes.
std::optional<Context> parse_traceparent(std::string_view header);
std::string traceparent(const Context& context);

// A span of its own: below `parent`, or the root of a new trace that is sampled with probability `ratio`.
Context new_context(const std::optional<Context>& parent, double ratio);

}  // namespace braid::tracing
