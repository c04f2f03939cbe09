// SPDX-License-Identifier: Apache-2.0
#include "router/admission.h"

namespace braid::router {
namespace {

// The plugin that the configuration names, or one of `type`.
template <class T>
Result<T*> policy(Plugins& plugins, const std::string& name, std::string_view type, const std::string& what) {
  Plugin* found = nullptr;
  if (name.empty()) {
    ASSIGN_OR_RETURN(found, made_of(plugins, type));
  } else {
    found = plugins.find(name);
  }
  T* as = dynamic_cast<T*>(found);
  if (as != nullptr) return as;
  return found->parameters.error("plugin '" + found->name + "' is a " + found->type + ", which is no " + what);
}

Status set_band(const std::optional<BandEntry>& entry, Plugins& plugins, BandSettings& band) {
  const BandEntry given = entry.value_or(BandEntry{});
  if (given.max_bytes) band.max_bytes = given.max_bytes->value;
  if (given.max_requests) band.max_requests = given.max_requests->value;
  ASSIGN_OR_RETURN(band.fairness, policy<FairnessPolicy>(plugins, given.fairness, "global-strict-fairness-policy", "fairness policy"));
  ASSIGN_OR_RETURN(band.ordering, policy<OrderingPolicy>(plugins, given.ordering, "fcfs-ordering-policy", "ordering policy"));
  return {};
}

}  // namespace

Status Admission::set_bands(const PickerConfig& config, Plugins& plugins, FlowSettings& settings) {
  const FlowControlEntry& flow = config.flow_control;
  RETURN_IF_ERROR(set_band(flow.default_band, plugins, settings.default_band));
  RETURN_IF_ERROR(set_band(flow.default_negative_band ? flow.default_negative_band : flow.default_band, plugins, settings.default_negative_band));
  for (const BandEntry& band : flow.bands) {
    if (settings.bands.contains(band.priority)) {
      return invalid_argument(config.file + " line " + std::to_string(band.line) + ": priority " + std::to_string(band.priority) + " has a band already");
    }
    RETURN_IF_ERROR(set_band(band, plugins, settings.bands[band.priority]));
  }
  return {};
}

Status Admission::build(const PickerConfig& config, Pipeline& pipeline) {
  const FlowControlEntry& flow = config.flow_control;
  std::string detector;
  if (config.saturation_detector) detector = config.saturation_detector->plugin;
  if (flow.saturation_detector) detector = flow.saturation_detector->plugin;
  ASSIGN_OR_RETURN(detector_, policy<SaturationDetector>(pipeline.plugins, detector, "utilization-detector", "saturation detector"));
  for (const auto& plugin : pipeline.plugins.all()) {
    if (auto* admitter = dynamic_cast<Admitter*>(plugin.get())) admitters_.push_back(admitter);
  }
  if (!config.gate("flowControl")) return {};
  FlowSettings settings;
  if (flow.max_bytes) settings.max_bytes = flow.max_bytes->value;
  if (flow.max_requests) settings.max_requests = flow.max_requests->value;
  if (flow.default_ttl) settings.default_ttl = flow.default_ttl->value;
  settings.no_endpoint_ttl = flow.no_endpoint_ttl ? flow.no_endpoint_ttl->value : settings.default_ttl;
  RETURN_IF_ERROR(set_bands(config, pipeline.plugins, settings));
  ASSIGN_OR_RETURN(settings.usage, policy<UsageLimit>(pipeline.plugins, flow.usage_limit, "static-usage-limit-policy", "usage limit policy"));
  evicts_ = flow.enable_eviction;
  flow_ = std::make_unique<FlowControl>(std::move(settings));
  return {};
}

StageSaturation Admission::saturation(std::span<const Endpoint> endpoints, std::span<const Slot> slots) const {
  return saturation_of(*detector_, endpoints, slots, *underway_);
}

std::optional<Refusal> Admission::refuses(const RoutedRequest& request, double saturation, Random& random) const {
  if (!queues() && request.priority < 0 && saturation >= 1) {
    return Refusal{429, dropped::kSaturated, "the pool is full, and requests of priority " + std::to_string(request.priority) + " are dropped first", 1};
  }
  for (Admitter* admitter : admitters_) {
    if (auto refusal = admitter->refuses(request, saturation, random)) return refusal;
  }
  return std::nullopt;
}

std::shared_ptr<void> Admission::count_underway(std::int64_t tokens) {
  underway_->requests += 1;
  underway_->tokens += tokens;
  return std::shared_ptr<void>(nullptr, [count = underway_, tokens](void*) {
    count->requests -= 1;
    count->tokens -= tokens;
  });
}

}  // namespace braid::router
