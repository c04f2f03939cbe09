// SPDX-License-Identifier: Apache-2.0
#include "router/catalog.h"
#include "router/in_flight.h"
#include "router/index/approximate.h"

namespace braid::router {
namespace {

constexpr PluginType kTypes[] = {
    plugin_type<ApproximatePrefix>("approx-prefix-cache-producer", "Guesses what endpoints have cached from what they were sent."),
    plugin_type<InFlightLoad>("inflight-load-producer", "Counts requests and tokens in flight by endpoint."),
};

}  // namespace

std::span<const PluginType> producers() { return kTypes; }

}  // namespace braid::router
