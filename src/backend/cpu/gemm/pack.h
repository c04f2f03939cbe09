// SPDX-License-Identifier: Apache-2.0
// Checkpoint weights into the panels of micro.h, by all workers.
#pragma once

#include <span>

#include "backend/cpu/gemm/micro.h"
#include "backend/cpu/stream.h"
#include "ops/weight.h"

namespace braid::cpu {

// How output `lane` of panel `p` is found: row `row` of part `part`; part < 0 is padding.
struct OutputSource {
  int part = -1;
  std::int64_t row = 0;
};

struct PackShape {
  Layout layout = Layout::kRows;
  int lanes = 0;            // > 0: parts are {gate, up}, alternating in groups of `lanes`
  std::int64_t n = 0;       // outputs of a batch entry (gate_up: 2 * inter)
  std::int64_t k = 0;
  std::int64_t batch = 1;
};

// Packs parts (as ops/linear.h, or {gate, up}). kF8 becomes kBF16, dequantised, when a part is not
// e4m3, when its scale blocks don't fit the layout, when scales are extreme or when a part for kRows,
// whose kernels take all codes for numbers, has NaN codes; the result's format says which it is. A block whose scale is zero is stored as zeros.
// kF4 becomes kBF16 when a part is not MXFP4, begins or ends within a block, or has blocks other than
// of zeros with scales beyond 2^50 or 2^-50.
ops::PackedWeight pack(std::span<const ops::Weight> parts, ops::WeightFormat format,
                       const PackShape& shape, Stream& stream);

// What pack() made, as micro-kernels want it.
Panels panels_of(const ops::PackedWeight& weight, std::int64_t batch);
std::int64_t panel_count(const ops::PackedWeight& weight);  // of one batch entry

}  // namespace braid::cpu
