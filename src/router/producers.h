// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: producers without a file of their own.
#pragma once

#include <utility>

#include "router/catalog.h"
#include "router/precise_parameters.h"

namespace braid::router {

class TokenProducer final : public Plugin {
 public:
  using Parameters = TokenProducerParameters;
  explicit TokenProducer(Parameters parameters) : settings(std::move(parameters)) {}
  const Parameters settings;
};

}  // namespace braid::router
