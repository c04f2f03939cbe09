// SPDX-License-Identifier: Apache-2.0
// The matrices of one gated MLP where a checkpoint has them.
#pragma once

#include <string>
#include <vector>

#include "model/config.h"
#include "ops/weight.h"
#include "weights/checkpoint.h"

namespace braid::model {

struct MlpName {
  std::string prefix;  // of the MLP, or of the mixture that the expert belongs to
  int inter = 0;
  int expert = -1;
};

struct MlpWeights {
  ops::Weight gate, up;  // [inter, hidden]
  ops::Weight down;      // [hidden, inter]
  std::vector<float> bias;  // as ops::PackedMlp has it, or empty
  std::vector<weights::Stored> owners;  // of what the weights look at
};

// Errors as weights::Checkpoint.
Result<MlpWeights> find_mlp(const weights::Checkpoint& checkpoint, const Config& config, const MlpName& name,
                            weights::Access access = weights::Access::kRead);

ops::Weight weight_of(const weights::Stored& stored);

}  // namespace braid::model
