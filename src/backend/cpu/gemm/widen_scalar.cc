// SPDX-License-Identifier: Apache-2.0
// Portable matrix kernels: four floats in the compiler's vector type. An e4m3 code, moved to where
// float32 keeps exponent and fraction, is its value times 2^-120, subnormals included; an e2m1 code
// likewise, times 2^-126.
#include "backend/cpu/gemm/widen_body.h"
#include "backend/cpu/simd/portable.h"

namespace {

template <>
inline Portable::F LoadF8::load<Portable>(const unsigned char* p, int lane) {
  Portable::U codes;
  for (int i = 0; i < 4; ++i) codes[i] = p[lane + i];
  const Portable::U magnitude = (codes & 0x7fu) << 20;
  const auto value = reinterpret_cast<Portable::F>(magnitude) * Portable::set1(0x1p120f);
  return reinterpret_cast<Portable::F>(reinterpret_cast<Portable::U>(value) |
                                       ((codes & 0x80u) << 24));
}

template <>
inline Portable::F LoadF4::load<Portable>(const unsigned char* p, int lane) {
  Portable::U codes;
  for (int i = 0; i < 4; ++i) codes[i] = static_cast<std::uint32_t>(p[lane % 16 + i]) >> lane / 16 * 4;
  const Portable::U magnitude = (codes & 7u) << 22;
  const auto value = reinterpret_cast<Portable::F>(magnitude) * Portable::set1(0x1p126f);
  return reinterpret_cast<Portable::F>(reinterpret_cast<Portable::U>(value) | ((codes & 8u) << 28));
}

template <>
inline Portable::F LoadF4::power<Portable>(const unsigned char* exponents, const unsigned char* minus) {
  Portable::U bits;
  for (int i = 0; i < 4; ++i) bits[i] = (minus ? 127u + exponents[i] - minus[i] : exponents[i]) << 23;
  return reinterpret_cast<Portable::F>(bits);
}

}  // namespace

namespace braid::cpu {

extern const MicroTier kScalarGemm = widen_tier<Portable, 4>();

}  // namespace braid::cpu
