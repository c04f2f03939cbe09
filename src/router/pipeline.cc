// SPDX-License-Identifier: Apache-2.0
#include "router/pipeline.h"

#include "router/catalog.h"

namespace braid::router {

Result<Plugin*> made_of(Plugins& plugins, std::string_view type) {
  if (Plugin* found = plugins.find(type)) return found;
  ASSIGN_OR_RETURN(std::unique_ptr<Plugin> plugin, make_plugin_of(type, {}));
  plugin->name = plugin->type = type;
  RETURN_IF_ERROR(plugin->connect(plugins));
  Plugin* raw = plugin.get();
  plugins.add(std::move(plugin));
  return raw;
}

namespace {

std::string at_line(const PickerConfig& config, int line) { return config.file + " line " + std::to_string(line) + ": "; }

Status make_all(const PickerConfig& config, Plugins& plugins) {
  for (const PluginEntry& entry : config.plugins) {
    ASSIGN_OR_RETURN(std::unique_ptr<Plugin> plugin, make_plugin_of(entry.type, entry.parameters));
    plugin->name = entry.name;
    plugin->type = entry.type;
    plugins.add(std::move(plugin));
  }
  for (std::size_t i = 0; i < config.plugins.size(); ++i) RETURN_IF_ERROR(plugins.all()[i]->connect(plugins));
  return {};
}

Status use_in_profile(const PickerConfig& config, Plugin& plugin, const PluginRef& ref, Profile& profile) {
  bool used = false;
  if (auto* filter = dynamic_cast<Filter*>(&plugin)) {
    profile.filters.push_back({filter, plugin.name});
    used = true;
  }
  if (auto* scorer = dynamic_cast<Scorer*>(&plugin)) {
    profile.scorers.push_back({scorer, ref.weight.value_or(1), plugin.name});
    used = true;
  }
  if (auto* pairs = dynamic_cast<PairScorer*>(&plugin)) {
    profile.pairs = pairs;
    profile.pair_weight = ref.weight.value_or(1);
    profile.pair_name = plugin.name;
    used = true;
  }
  if (auto* picker = dynamic_cast<Picker*>(&plugin)) {
    if (profile.picker != nullptr) {
      return invalid_argument(at_line(config, ref.line) + "profile '" + profile.name + "' has two pickers, '" + profile.picker_name + "' and '" + plugin.name + "'; leave one");
    }
    profile.picker = picker;
    profile.picker_name = plugin.name;
    used = true;
  }
  if (used) return {};
  return invalid_argument(at_line(config, ref.line) + "profile '" + profile.name + "': plugin '" + plugin.name + "' is a " + plugin.type +
                          ", which is no filter, scorer or picker");
}

bool fits_profile(Plugin& plugin) {
  return dynamic_cast<Filter*>(&plugin) != nullptr || dynamic_cast<Scorer*>(&plugin) != nullptr ||
         dynamic_cast<Picker*>(&plugin) != nullptr;
}

// Without profiles everything that fits one makes up the only one.
std::vector<ProfileEntry> entries_of(const PickerConfig& config, const Plugins& plugins) {
  if (!config.profiles.empty()) return config.profiles;
  ProfileEntry entry{"default", {}, 1};
  for (const PluginEntry& plugin : config.plugins) {
    if (fits_profile(*plugins.find(plugin.name))) entry.plugins.push_back({plugin.name, std::nullopt, 1});
  }
  return {entry};
}

Status make_profiles(const PickerConfig& config, Pipeline& pipeline) {
  for (const ProfileEntry& entry : entries_of(config, pipeline.plugins)) {
    Profile& profile = pipeline.profiles.emplace_back();
    profile.name = entry.name;
    for (const PluginRef& ref : entry.plugins) {
      RETURN_IF_ERROR(use_in_profile(config, *pipeline.plugins.find(ref.plugin), ref, profile));
    }
    if (profile.picker != nullptr) continue;
    ASSIGN_OR_RETURN(Plugin * picker, made_of(pipeline.plugins, "max-score-picker"));
    profile.picker = dynamic_cast<Picker*>(picker);
    profile.picker_name = picker->name;
  }
  return {};
}

Status choose_handler(const PickerConfig& config, Pipeline& pipeline) {
  std::string name;
  for (const auto& plugin : pipeline.plugins.all()) {
    auto* handler = dynamic_cast<ProfileHandler*>(plugin.get());
    if (handler == nullptr) continue;
    if (pipeline.handler != nullptr) {
      return plugin->parameters.error("there are two profile handlers, '" + name + "' and '" + plugin->name + "'; leave one");
    }
    pipeline.handler = handler;
    name = plugin->name;
  }
  if (pipeline.handler == nullptr) {
    if (pipeline.profiles.size() > 1) {
      return invalid_argument(at_line(config, config.profiles[1].line) +
                              "several profiles need a handler: add a plugin such as disagg-profile-handler or header-profile-handler");
    }
    ASSIGN_OR_RETURN(Plugin * made, made_of(pipeline.plugins, "single-profile-handler"));
    pipeline.handler = dynamic_cast<ProfileHandler*>(made);
  }
  return pipeline.handler->use(pipeline.profiles);
}

}  // namespace

Status Pipeline::build(const PickerConfig& config) {
  RETURN_IF_ERROR(make_all(config, plugins));
  RETURN_IF_ERROR(make_profiles(config, *this));
  return choose_handler(config, *this);
}

void Pipeline::number_prefixes() {
  for (const auto& plugin : plugins.all()) {
    if (auto* producer = dynamic_cast<PrefixProducer*>(plugin.get())) {
      producer->index = prefixes.size();
      prefixes.push_back(producer);
    }
  }
}

void Pipeline::time_plugins(metrics::Family<metrics::Histogram>& spent) {
  const auto of = [&](const char* point, const std::string& name) { return &spent.with({point, plugins.find(name)->type, name}); };
  for (Profile& profile : profiles) {
    for (Profile::Named& each : profile.filters) each.spent = of("Filter", each.name);
    for (Profile::Weighted& each : profile.scorers) each.spent = of("Scorer", each.name);
    profile.picker_spent = of("Picker", profile.picker_name);
  }
}

}  // namespace braid::router
