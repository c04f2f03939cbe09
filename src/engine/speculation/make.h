// SPDX-License-Identifier: Apache-2.0
// From settings to speculation.
#pragma once

#include <memory>

#include "engine/settings.h"
#include "engine/speculation/speculation.h"
#include "kv/cache.h"
#include "model/model.h"

namespace braid::engine {

// What is wrong with the settings, whatever the model.
Status check_speculation(const SpeculativeSettings& settings);

struct SpeculationParts {
  model::Model* model = nullptr;  // with a draft module if the settings use one
  kv::Cache* cache = nullptr;
  std::int32_t max_model_len = 0;
  Metrics* metrics = nullptr;
  const Clock* clock = nullptr;
  bool shared = false;  // the model computes only together with other ranks
};

// Null when it is off. Measures the model's passes, unless the settings fix the batch size, and logs
// what follows from that: first of all, or in the first step with the ranks that share the model.
// Everything in `parts` outlives the result.
Result<std::unique_ptr<Speculation>> make_speculation(const Settings& settings, const SpeculationParts& parts);

}  // namespace braid::engine
