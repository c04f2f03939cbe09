// SPDX-License-Identifier: Apache-2.0
#include "router/topology.h"

namespace braid::router {
namespace {

bool same(const Endpoint& a, const Endpoint& b, std::string_view key) {
  const std::string_view value = a.label(key);
  return !value.empty() && value == b.label(key);
}

}  // namespace

double nearness(const Endpoint& a, const Endpoint& b) {
  if (a.id.address == b.id.address || same(a, b, kHostLabel)) return 1.0;
  if (same(a, b, kRackLabel)) return 0.20;
  if (same(a, b, kZoneLabel)) return 0.05;
  return same(a, b, kRegionLabel) ? 0.02 : 0;
}

}  // namespace braid::router
