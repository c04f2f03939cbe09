// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: finding the producer that tells what is cached where.
#pragma once

#include <string>

#include "router/plugin.h"

namespace braid::router {

// The producer called `name`; without a name the only one, or an approximate one if there is none.
Status connect_prefixes(Plugins& plugins, const Plugin& user, const std::string& name, PrefixProducer*& prefixes);

}  // namespace braid::router
