// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: what a configuration is made into.
#pragma once

#include <vector>

#include "router/picker_config.h"
#include "metrics/metrics.h"
#include "router/plugin.h"

namespace braid::router {

struct Pipeline {
  Plugins plugins;
  std::vector<Profile> profiles;
  ProfileHandler* handler = nullptr;
  std::vector<PrefixProducer*> prefixes;  // by PrefixProducer::index

  // Fills `this` in place: plugins keep pointers into it. number_prefixes() comes when all plugins are made.
  Status build(const PickerConfig& config);
  void number_prefixes();
  // From now on the time of each plugin is counted, under its extension point.
  void time_plugins(metrics::Family<metrics::Histogram>& spent);
};

// The plugin called as its type, or one made of that type.
Result<Plugin*> made_of(Plugins& plugins, std::string_view type);

}  // namespace braid::router
