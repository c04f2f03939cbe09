// SPDX-License-Identifier: Apache-2.0
#include "router/handlers/targets.h"

#include "config/suggest.h"

namespace braid::router {

std::vector<Target> targets_of(const Context& context, const std::vector<EndpointIndex>& picked) {
  std::vector<Target> targets;
  for (const EndpointIndex index : picked) targets.push_back({index, context.at(index).id});
  return targets;
}

Refusal nothing_picked(const Context& context, const std::string& profile) {
  if (context.emptied_by_load) {
    return {429, dropped::kSaturated, "every endpoint that profile '" + profile + "' might choose is too busy; try again later", 1};
  }
  return {503, dropped::kNoEndpoints, "no endpoint fits profile '" + profile + "'", 1};
}

Result<const Profile*> profile_named(std::span<const Profile> profiles, const std::string& name, const Plugin& user, std::string_view field) {
  std::vector<std::string> names;
  for (const Profile& profile : profiles) {
    if (profile.name == name) return &profile;
    names.push_back(profile.name);
  }
  const std::string near = config::nearest(name, names);
  return user.parameters.error("plugin '" + user.name + "' needs a profile '" + name + "', which schedulingProfiles does not have" +
                                   (near.empty() ? "" : "; did you mean '" + near + "'?"),
                               field);
}

}  // namespace braid::router
