// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "ops/reference.h"
#include "ops/reference/element.h"
#include "ops/reference/packed.h"

namespace braid::ops::reference {
namespace {

using Values = std::vector<float>;

PackedMlp prepare(const Weight& gate,
                  const Weight& up,
                  const Weight& down,
                  const GroupedMlp::Problem& p,
                  Stream&) {
  PackedMlp packed;
  packed.format = p.format;
  packed.hidden = gate.cols;
  packed.inter = gate.rows;
  packed.glu = p.glu;
  const Weight both[] = {gate, up};
  packed.gate_up = pack(both, p.format, 2 * gate.rows, gate.cols, 1);
  packed.down = pack({&down, 1}, p.format, down.rows, down.cols, 1);
  return packed;
}

float dot(const PackedWeight& w, std::int64_t n, const Values& x) {
  float sum = 0;
  for (std::int64_t k = 0; k < w.k; ++k) sum += x[k] * element(w, 0, n, k);
  return sum;
}

float activate(const Glu& glu, float gate, float up) {
  gate = std::min(gate, glu.limit);
  up = std::clamp(up, -glu.limit, glu.limit);
  return (up + glu.up_offset) * gate / (1.0f + std::exp(-glu.alpha * gate));
}

void one_row(const PackedMlp& mlp, Values x, float* out) {
  if (mlp.format == WeightFormat::kI8) through_int8(x);
  Values act(static_cast<std::size_t>(mlp.inter));
  const auto bias = [&](std::int64_t i) { return mlp.bias.data() ? mlp.bias.as<float>()[i] : 0.0f; };
  for (std::int64_t i = 0; i < mlp.inter; ++i) {
    const std::int64_t up = mlp.inter + i;
    act[i] = activate(mlp.glu, dot(mlp.gate_up, i, x) + bias(i), dot(mlp.gate_up, up, x) + bias(up));
  }
  if (mlp.format == WeightFormat::kI8) through_int8(act);
  for (std::int64_t n = 0; n < mlp.hidden; ++n) out[n] = dot(mlp.down, n, act) + bias(2 * mlp.inter + n);
}

void grouped_mlp(const GroupedMlp::Args& a, Stream&) {
  for (std::size_t g = 0; g < a.groups.size(); ++g) {
    for (std::int64_t r = a.offsets[g]; a.groups[g] && r < a.offsets[g + 1]; ++r) {
      Values x(static_cast<std::size_t>(a.groups[g]->hidden));
      const std::int64_t token = a.row_token ? a.row_token[r] : r;
      for (std::size_t k = 0; k < x.size(); ++k) {
        x[k] = load(a.x.row(token), a.x.dtype, static_cast<std::int64_t>(k));
      }
      one_row(*a.groups[g], std::move(x), a.out.row(r));
    }
  }
}

}  // namespace

extern const Kernel<GroupedMlp> kGroupedMlp{
    "reference", 0, always<GroupedMlp::Problem>, grouped_mlp, prepare};

}  // namespace braid::ops::reference
