// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/matmul/matmul.h"

#include "backend/cuda/matmul/choose.h"
#include "backend/cuda/matmul/pack.h"

namespace braid::cuda {
namespace {

using ops::GroupedMlp;
using ops::Linear;
using ops::WeightFormat;

constexpr std::int64_t kUnit = 8;  // elements of 16 bytes

std::string any_weights(WeightFormat format) { return format == WeightFormat::kI8 ? "int8 activations are for CPUs" : ""; }

std::string needs_bf16(DType x, WeightFormat format) {
  if (x != DType::kBF16 || format == WeightFormat::kF32) return "multiplies bfloat16 activations";
  return any_weights(format);
}

std::string linear_support(const Linear::Problem& p, const Capabilities&) {
  return p.k % kUnit != 0 ? "needs a multiple of 8 inputs" : needs_bf16(p.x, p.format);
}

std::string any_mlp(const GroupedMlp::Problem& p, const Capabilities&) { return any_weights(p.format); }

std::string mlp_support(const GroupedMlp::Problem& p, const Capabilities&) {
  return p.hidden % kUnit != 0 ? "needs a multiple of 8 inputs" : needs_bf16(p.x, p.format);
}

std::string any_linear(const Linear::Problem& p, const Capabilities&) { return any_weights(p.format); }

template <auto kMultiply>
void linear(const Linear::Args& args, braid::Stream& stream) {
  kMultiply(args, stream);
  add_bias(args, stream);
}

ops::PackedWeight pack_linear(std::span<const ops::Weight> parts, const Linear::Problem& p, braid::Stream& stream) {
  return pack(rows_of(parts), p.format, p.n, p.k, p.batch, stream);
}

ops::PackedMlp pack_mlp(const ops::Weight& gate, const ops::Weight& up, const ops::Weight& down,
                        const GroupedMlp::Problem& p, braid::Stream& stream) {
  ops::PackedMlp packed;
  packed.format = p.format;
  packed.hidden = gate.cols;
  packed.inter = gate.rows;
  packed.glu = p.glu;
  const auto both = alternate(gate, up, 8, 8);
  packed.gate_up = pack(both, p.format, static_cast<std::int64_t>(both.size()), gate.cols, 1, stream);
  packed.down = pack(rows_of({&down, 1}), p.format, down.rows, down.cols, 1, stream);
  return packed;
}

}  // namespace

std::vector<ops::Kernel<Linear>> linear_kernels() {
  return {{"hopper", 20, hopper_linear_support, linear<linear_hopper>, pack_linear_hopper},
          {"mma", 10, linear_support, linear<linear_mma>, pack_linear},
          {"simple", 1, any_linear, linear<linear_simple>, pack_linear}};
}

std::vector<ops::Kernel<GroupedMlp>> grouped_mlp_kernels() {
  return {{"hopper", 20, hopper_mlp_support, grouped_mlp_hopper, pack_mlp_hopper},
          {"mma", 10, mlp_support, grouped_mlp_mma, pack_mlp},
          {"simple", 1, any_mlp, grouped_mlp_simple, pack_mlp}};
}

}  // namespace braid::cuda
