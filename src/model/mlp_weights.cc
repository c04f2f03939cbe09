// SPDX-License-Identifier: Apache-2.0
#include "model/mlp_weights.h"

namespace braid::model {

ops::Weight weight_of(const weights::Stored& stored) { return ops::Weight(stored.values, stored.scales, stored.block); }

Result<MlpWeights> find_mlp(const weights::Checkpoint& checkpoint, const Config& c, const MlpName& name) {
  const std::string prefix = name.prefix + (name.expert < 0 ? "." : ".experts." + std::to_string(name.expert) + ".");
  ASSIGN_OR_RETURN(auto gate, checkpoint.matrix(prefix + c.names.gate + ".weight", name.inter, c.hidden));
  ASSIGN_OR_RETURN(auto up, checkpoint.matrix(prefix + c.names.up + ".weight", name.inter, c.hidden));
  ASSIGN_OR_RETURN(auto down, checkpoint.matrix(prefix + c.names.down + ".weight", c.hidden, name.inter));
  MlpWeights found{weight_of(gate), weight_of(up), weight_of(down), gate.values.bytes() + up.values.bytes() + down.values.bytes(), {}};
  found.owners = {std::move(gate), std::move(up), std::move(down)};
  return found;
}

}  // namespace braid::model
