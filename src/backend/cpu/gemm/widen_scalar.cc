// SPDX-License-Identifier: Apache-2.0
// Portable matrix kernels: four floats in the compiler's vector type. An e4m3 code, moved to where
// float32 keeps exponent and fraction, is its value times 2^-120, subnormals included.
#include "backend/cpu/gemm/widen_body.h"
#include "backend/cpu/simd/portable.h"

namespace {

template <>
inline Portable::F LoadF8::load<Portable>(const unsigned char* p) {
  Portable::U codes;
  for (int i = 0; i < 4; ++i) codes[i] = p[i];
  const Portable::U magnitude = (codes & 0x7fu) << 20;
  const auto value = reinterpret_cast<Portable::F>(magnitude) * Portable::set1(0x1p120f);
  return reinterpret_cast<Portable::F>(reinterpret_cast<Portable::U>(value) |
                                       ((codes & 0x80u) << 24));
}

}  // namespace

namespace braid::cpu {

extern const MicroTier kScalarGemm = widen_tier<Portable, 4>();

}  // namespace braid::cpu
