// SPDX-License-Identifier: Apache-2.0
// Spreads the experts of a model's MoE layers over a group of ranks: the first time, and again when
// ranks are lost or join. Every rank tells which experts it holds, all compute the same placements
// from that (Placement::around), and each loads from the checkpoint what it holds no more.
#pragma once

#include <span>

#include "moe/layer.h"

namespace braid::moe {

// Collective, between steps. After an error the layers serve no step until a later call succeeds.
Status regroup(std::span<Layer* const> layers, Workspace& workspace, const ExpertParallel& group, Stream& stream);

}  // namespace braid::moe
