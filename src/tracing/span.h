// SPDX-License-Identifier: Apache-2.0
// One timed piece of a request's way, as OpenTelemetry has them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "tracing/context.h"

namespace braid::tracing {

using Value = std::variant<std::string, std::int64_t, double, bool>;

enum class Kind { kInternal = 1, kServer = 2, kClient = 3 };  // OTLP's numbers

struct Span {
  std::string name;
  Kind kind = Kind::kInternal;
  Context context;
  std::string parent;  // its span; empty: the root
  TimePoint begin{};
  TimePoint end{};
  std::vector<std::pair<std::string, Value>> attributes;
  std::optional<std::string> error;  // why it failed

  void set(std::string name, Value value) { attributes.emplace_back(std::move(name), std::move(value)); }
};

}  // namespace braid::tracing
