// SPDX-License-Identifier: Apache-2.0
// For tests: stands in for amx.cc in a test binary, with emulated tiles and portable vectors.
#include <algorithm>
#include <cmath>

#include "backend/cpu/gemm/micro.h"
#include "backend/cpu/gemm/tile_body.h"
#include "backend/cpu/simd/emulated_tiles.h"
#include "backend/cpu/simd/fixture.h"
#include "backend/cpu/simd/portable.h"

namespace {

// Undoes the order of kPairs and of a code's bits: output o, input i at 16 (o % 16 / 4) + 8 (o / 16) + 2 (o % 4) + i.
void F8Groups::expand(const unsigned char* from, const unsigned char*, std::int64_t groups, unsigned char* to) {
  auto* out = reinterpret_cast<std::uint16_t*>(to);
  for (std::int64_t g = 0; g < groups; ++g, from += kBytes) {
    for (int o = 0; o < 32; ++o) {
      for (int i = 0; i < 2; ++i) {
        const std::uint8_t stored = from[16 * (o % 16 / 4) + 8 * (o / 16) + 2 * (o % 4) + i];
        const int size = (stored & 7) << 4 | (stored >> 3 & 15);
        const int code = size >= 8 ? size : size % 2 ? size / 2 : size / 2 + 4;
        *out++ = braid::f32_to_bf16(256 * braid::f8e4m3_to_f32(static_cast<std::uint8_t>((stored & 0x80) | code)));
      }
    }
  }
}

void F4Groups::expand(const unsigned char* from, const unsigned char* exponents, std::int64_t groups, unsigned char* to) {
  auto* out = reinterpret_cast<std::uint16_t*>(to);
  for (std::int64_t g = 0; g < groups; ++g) {
    const unsigned char* bytes = from + g / 2 * 64;
    for (int o = 0; o < 32; ++o) {
      const float scale = braid::e8m0_to_f32(exponents[g / kBlockGroups * 32 + o]);
      for (int i = 0; i < 2; ++i) {
        const int both = bytes[16 * (o % 16 / 4) + 8 * (o / 16) + 2 * (o % 4) + i];
        *out++ = braid::f32_to_bf16(scale * braid::f4e2m1_to_f32(static_cast<std::uint8_t>(both >> g % 2 * 4)));
      }
    }
  }
}

template <>
Portable::F floats_of<Portable>(const std::int32_t* sums, std::int32_t offset) {
  Portable::I v;
  __builtin_memcpy(&v, sums, sizeof(v));
  return __builtin_convertvector(v - offset, Portable::F);
}

void load_row_as_int8(const void* row, bool bf16, std::int64_t k, void* out) {
  auto* codes = static_cast<std::int8_t*>(out);
  auto* scales = codes + (k + 63) / 64 * 64;
  for (std::int64_t begin = 0; begin < k; begin += 128, scales += 8) {
    const std::int64_t end = std::min(k, begin + 128);
    float peak = 0;
    for (auto i = begin; i < end; ++i) peak = std::max(peak, std::fabs(load_row<Portable>(row, bf16, i, 1)[0]));
    std::int32_t sum = 0;
    for (auto i = begin; i < end; ++i) {
      const float x = load_row<Portable>(row, bf16, i, 1)[0];
      codes[i] = static_cast<std::int8_t>(std::nearbyint(peak > 0 ? x * (127.0f / peak) : 0.0f));
      sum += codes[i];
    }
    const float scale = peak / 127;
    const std::int32_t offset = 128 * sum;
    std::memcpy(scales, &scale, 4);
    std::memcpy(scales + 4, &offset, 4);
  }
  for (std::int64_t i = k; i % 4; ++i) codes[i] = 0;
}

}  // namespace

namespace braid::cpu {

extern const MicroTier kAmxGemm = tile_tier<EmulatedTiles, Portable>(load_row_as_int8);
const Tier* const kEmulated = &kAmx;

}  // namespace braid::cpu
