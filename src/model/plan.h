// SPDX-License-Identifier: Apache-2.0
// What a model takes, known before any of its weights is read.
#pragma once

#include "model/model.h"

namespace braid::model {

// As build() with Options::plan, on one rank: cheap, whatever the model's size.
Result<std::unique_ptr<Model>> plan(const weights::Checkpoint& checkpoint, Options options, const ops::Backend& backend);

// Bytes of weights of the rank that has most, where so many share the experts and `redundant` copies.
std::size_t bytes_of_rank(const Model& planned, int ranks, int redundant = 0);

// Matrices' elements that compute a token: all but those of experts that it does not go to.
std::int64_t active_parameters(const Model& planned);

}  // namespace braid::model
