// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: what a configuration is made into.
#pragma once

#include <vector>

#include "router/picker_config.h"
#include "router/plugin.h"

namespace braid::router {

struct Pipeline {
  Plugins plugins;
  std::vector<Profile> profiles;
  ProfileHandler* handler = nullptr;
  std::vector<PrefixProducer*> prefixes;  // by PrefixProducer::index

  // Fills `this` in place: plugins keep pointers into it.
  Status build(const PickerConfig& config);
};

}  // namespace braid::router
