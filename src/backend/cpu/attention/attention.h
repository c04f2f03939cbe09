// SPDX-License-Identifier: Apache-2.0
// Attention of this backend: the reference and one kernel per instruction set.
#pragma once

#include <vector>

#include "ops/backend.h"

namespace braid::cpu {

std::vector<ops::Kernel<ops::AttentionDecode>> attention_decode_kernels();
std::vector<ops::Kernel<ops::AttentionPrefill>> attention_prefill_kernels();

}  // namespace braid::cpu
