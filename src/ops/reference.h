// SPDX-License-Identifier: Apache-2.0
// The slow reference of every operation: plain loops in float32 on one thread, any shape and
// element type. Tests compare every other kernel with it; backends list it with rank 0.
#pragma once

#include "ops/backend.h"

namespace braid::ops::reference {

extern const Kernel<Linear> kLinear;
extern const Kernel<GroupedMlp> kGroupedMlp;
extern const Kernel<AttentionDecode> kAttentionDecode;
extern const Kernel<AttentionPrefill> kAttentionPrefill;
extern const Kernel<Embed> kEmbed;
extern const Kernel<RmsNorm> kRmsNorm;
extern const Kernel<MlaStore> kMlaStore;
extern const Kernel<MlaQuery> kMlaQuery;
extern const Kernel<MlaGather> kMlaGather;
extern const Kernel<GqaPrepare> kGqaPrepare;
extern const Kernel<Route> kRoute;
extern const Kernel<Arrange> kArrange;
extern const Kernel<Combine> kCombine;

// The lists with nothing but the reference.
const KernelLists& lists();

}  // namespace braid::ops::reference
