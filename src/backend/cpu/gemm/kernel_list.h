// SPDX-License-Identifier: Apache-2.0
// The list of a matrix operation's kernels: one for each tier of micro-kernels, lowest first, then
// the reference. Impl<tier> has the static functions run and prepare.
#pragma once

#include <string>
#include <vector>

#include "backend/cpu/gemm/gemm.h"
#include "backend/cpu/simd/tier.h"

namespace braid::cpu {

template <class Op, template <const MicroTier&> class Impl>
struct MatrixKernels {
  template <const MicroTier& kGemm, const Tier& kTier>
  static std::string supports(const typename Op::Problem& p, const Capabilities& caps) {
    if (!micro_of(kGemm, p.format).gemm) return std::string("no ") + name_of(p.format) + " weights";
    return missing(caps, kTier);
  }

  template <const MicroTier& kGemm, const Tier& kTier>
  static ops::Kernel<Op> kernel() {
    return {kTier.name, kTier.rank, supports<kGemm, kTier>, Impl<kGemm>::run, Impl<kGemm>::prepare};
  }

  static std::vector<ops::Kernel<Op>> list(const ops::Kernel<Op>& reference) {
    return {
        kernel<kScalarGemm, kScalar>(),
#if defined(__x86_64__)
        kernel<kAvx2Gemm, kAvx2>(),
        kernel<kAvx512Gemm, kAvx512>(),
        kernel<kAvx512Bf16Gemm, kAvx512Vbmi>(),
        kernel<kAmxGemm, kAmx>(),
#endif
        reference,
    };
  }
};

}  // namespace braid::cpu
