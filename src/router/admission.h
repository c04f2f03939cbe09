// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: whether a request may be decided now. Without the gate `flowControl`, requests
// of priority < 0 are refused while the pool is full and all others go at once; with it they wait in
// FlowControl.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "router/flow/flow_control.h"
#include "router/pipeline.h"

namespace braid::router {

class Admission {
 public:
  Status build(const PickerConfig& config, Pipeline& pipeline);

  bool queues() const { return flow_ != nullptr; }
  FlowControl* flow() { return flow_.get(); }
  bool evicts() const { return evicts_ && queues(); }

  StageSaturation saturation(std::span<const Endpoint> endpoints, std::span<const Slot> slots) const;
  const SaturationDetector& detector() const { return *detector_; }
  // Refuses at once what may not even wait (no queues), or what an admitter does not want.
  std::optional<Refusal> refuses(const RoutedRequest& request, double saturation, Random& random) const;
  bool has_admitters() const { return !admitters_.empty(); }

  // Counts one more decided and not sent, until what is returned is let go.
  std::shared_ptr<void> count_underway(std::int64_t tokens);

 private:
  Status set_bands(const PickerConfig& config, Plugins& plugins, FlowSettings& settings);

  std::unique_ptr<FlowControl> flow_;
  SaturationDetector* detector_ = nullptr;
  std::vector<Admitter*> admitters_;
  std::shared_ptr<Underway> underway_ = std::make_shared<Underway>();
  bool evicts_ = false;
};

}  // namespace braid::router
