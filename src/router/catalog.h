// SPDX-License-Identifier: Apache-2.0
// Every type of plugin, and how one is made from its parameters.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "router/parameter_page.h"
#include "router/plugin.h"

namespace braid::router {

struct PluginType {
  std::string_view type;
  std::string_view what;  // one sentence
  Result<std::unique_ptr<Plugin>> (*make)(const ConfigValue& parameters) = nullptr;
  void (*describe)(ParameterPage& page) = nullptr;
};

struct NoParameters {
  template <class Self, class Visitor>
  static void describe(Self&, Visitor&) {}
};

// T has a struct Parameters with describe(), and a constructor that takes one.
template <class T>
Result<std::unique_ptr<Plugin>> make_plugin(const ConfigValue& value) {
  typename T::Parameters parameters;
  RETURN_IF_ERROR(read_config(value, parameters));
  std::unique_ptr<Plugin> plugin = std::make_unique<T>(std::move(parameters));
  plugin->parameters = value;
  return plugin;
}

template <class T>
void describe_plugin(ParameterPage& page) {
  typename T::Parameters parameters;
  T::Parameters::describe(parameters, page);
}

template <class T>
constexpr PluginType plugin_type(std::string_view type, std::string_view what) {
  return {type, what, make_plugin<T>, describe_plugin<T>};
}

// The lists that make up the catalog.
std::span<const PluginType> load_scorers();
std::span<const PluginType> prefix_scorers();
std::span<const PluginType> affinity_scorers();
std::span<const PluginType> filters();
std::span<const PluginType> pickers();
std::span<const PluginType> profile_handlers();
std::span<const PluginType> producers();
std::span<const PluginType> flow_policies();
std::span<const PluginType> front_plugins();  // parsers and the data layer

std::vector<PluginType> catalog();

// Errors: the type is unknown, with the nearest known one, or known and not available, with why.
Result<std::unique_ptr<Plugin>> make_plugin_of(std::string_view type, const ConfigValue& parameters);

// The reference page of all types and their parameters, in Markdown.
std::string plugins_markdown();

}  // namespace braid::router
