// SPDX-License-Identifier: Apache-2.0
// What a model takes, known before any of its weights is read.
#pragma once

#include "model/model.h"

namespace braid::model {

// As build() with Options::plan, on one rank: cheap, whatever the model's size.
Result<std::unique_ptr<Model>> plan(const weights::Checkpoint& checkpoint, Options options, const ops::Backend& backend);

// What a rank on a device with memory of its own will take of it, besides the cache; in bytes.
struct Footprint {
  std::size_t weights = 0;
  std::size_t buffers = 0;  // of the largest steps, sequences of decode rows being at most kLongContext tokens long
  std::size_t graphs = 0;   // of repeated steps
  kv::Layout cache;

  static constexpr std::int64_t kLongContext = 8192;
};
// With Options::experts: of that rank. As cheap as plan().
Result<Footprint> footprint(const weights::Checkpoint& checkpoint, Options options, const ops::Backend& backend);

// Bytes of weights of the rank that has most, where so many share the experts and `redundant` copies.
std::size_t bytes_of_rank(const Model& planned, int ranks, int redundant = 0);

// Matrices' elements that compute a token: all but those of experts that it does not go to.
std::int64_t active_parameters(const Model& planned);

}  // namespace braid::model
