// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: what profile handlers have in common.
#pragma once

#include <string>
#include <vector>

#include "router/plugin.h"

namespace braid::router {

std::vector<Target> targets_of(const Context& context, const std::vector<EndpointIndex>& picked);

// Why nothing could be picked: 429 when all that might have served are too busy, else 503.
Refusal nothing_picked(const Context& context, const std::string& profile);

// The profile of that name; the error names what there is.
Result<const Profile*> profile_named(std::span<const Profile> profiles, const std::string& name, const Plugin& user, std::string_view field);

}  // namespace braid::router
