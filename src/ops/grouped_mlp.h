// SPDX-License-Identifier: Apache-2.0
// grouped_mlp: rows gathered per group through that group's gated MLP, in two phases:
//   act = glu(x * gate^T + gate bias, x * up^T + up bias)      out = act * down^T + down bias
// One group = the rows of one expert; a dense or shared MLP is a group with all rows. The output
// keeps the grouped row order, one float32 row per (token, expert) pair; ops/routing.h sums them.
// Batch-invariant as ops/linear.h.
#pragma once

#include <limits>
#include <span>

#include "ops/kernel.h"
#include "ops/weight.h"

namespace braid::ops {

// What becomes of a gate g and an up u: (u + up_offset) * g * sigmoid(alpha * g), g having been limited
// from above and u from both sides. As it stands, silu(g) * u.
struct Glu {
  float alpha = 1.0f;
  float limit = std::numeric_limits<float>::infinity();
  float up_offset = 0.0f;
  bool operator==(const Glu&) const = default;
};

// One expert's weights after prepare(); opaque to everybody but the kernel that made it, except for
// `bias`, which whoever called prepare() with a problem that has one puts there.
struct PackedMlp {
  WeightFormat format = WeightFormat::kF32;
  std::int64_t hidden = 0;
  std::int64_t inter = 0;
  PackedWeight gate_up;
  PackedWeight down;
  Glu glu;
  Buffer bias;  // float32 [inter of gate | inter of up | hidden of down], where kernels read it; or empty
  std::size_t bytes() const { return gate_up.bytes() + down.bytes() + bias.size(); }
};

struct GroupedMlp {
  static constexpr const char* kName = "grouped_mlp";

  struct Problem {
    DType x = DType::kBF16;
    WeightFormat format = WeightFormat::kBF16;
    std::int64_t hidden = 0;
    std::int64_t inter = 0;  // the largest of all groups
    bool f8_activations = false;  // as ops/linear.h, in both phases
    Glu glu;
    bool bias = false;
  };

  struct Args {
    Activations x;                          // [tokens, hidden]
    std::span<const PackedMlp* const> groups;  // weights, empty without rows; null: a gap
    // [groups + 1]: group g owns rows [offsets[g], offsets[g + 1]), offsets[0] = 0. Read by kernels only.
    const std::int32_t* offsets = nullptr;
    const std::int32_t* row_token = nullptr;  // [rows] token of each grouped row; null: row i = token i
    Matrix<float> out;                      // [rows, hidden], rows = offsets[groups]
    std::byte* scratch = nullptr;           // >= scratch_bytes(rows, largest inter)
  };
  static std::size_t scratch_bytes(std::int64_t rows, std::int64_t inter) {
    return static_cast<std::size_t>(rows * ((inter + 127) / 128 * 128)) * sizeof(float) + 4096;
  }

  // gate [inter, hidden], up [inter, hidden], down [hidden, inter].
  using Prepare = PackedMlp (*)(const Weight& gate, const Weight& up, const Weight& down,
                                const Problem&, Stream&);
};

}  // namespace braid::ops
