// SPDX-License-Identifier: Apache-2.0
// Weights quantised while they are read (--quantization fp8): projections and experts stored with 16 or 32
// bits become e4m3 with a scale for each 128 x 128 block, as FP8 checkpoints of DeepSeek have them. Routers,
// embeddings, the head, a draft module's eh_proj and what is quantised already stay as they are.
#pragma once

#include <memory>

#include "weights/checkpoint.h"

namespace braid::weights {

// The matrix in e4m3; of one that is only looked at, the element type. A block's scale is its largest
// magnitude / 448, or 1.
Stored quantise_fp8(const Stored& matrix);

std::unique_ptr<Checkpoint> quantised_fp8(std::unique_ptr<Checkpoint> stored);

}  // namespace braid::weights
