// SPDX-License-Identifier: Apache-2.0
// Four floats with NEON and its fused multiply-add; functions as in portable.h, whose first lines
// apply.
#pragma once

#if defined(__aarch64__)

#include <arm_neon.h>

#include <cstdint>

namespace {

struct Neon {
  using F = float32x4_t;
  static constexpr int kWidth = 4;

  static F set1(float x) { return vdupq_n_f32(x); }
  static F zero() { return vdupq_n_f32(0); }
  static uint32x4_t lanes(int n) {
    const int32x4_t index = {0, 1, 2, 3};
    return vcltq_s32(index, vdupq_n_s32(n));
  }
  static F load(const float* p) { return vld1q_f32(p); }
  static F load(const float* p, int n) {
    float all[kWidth];
    for (int i = 0; i < kWidth; ++i) all[i] = i < n ? p[i] : 0;
    return vld1q_f32(all);
  }
  static void store(float* p, F v) { vst1q_f32(p, v); }
  static void store(float* p, F v, int n) {
    float all[kWidth];
    vst1q_f32(all, v);
    for (int i = 0; i < n && i < kWidth; ++i) p[i] = all[i];
  }
  static F load_bf16(const std::uint16_t* p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
  }
  static F load_bf16(const std::uint16_t* p, int n) {
    std::uint16_t all[kWidth];
    for (int i = 0; i < kWidth; ++i) all[i] = i < n ? p[i] : 0;
    return load_bf16(all);
  }
  static uint16x4_t to_bf16(F v) {
    const uint32x4_t bits = vreinterpretq_u32_f32(v);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
    return vshrn_n_u32(vbslq_u32(vceqq_f32(v, v), rounded, quiet), 16);
  }
  static void store_bf16(std::uint16_t* p, F v) { vst1_u16(p, to_bf16(v)); }
  static void store_bf16(std::uint16_t* p, F v, int n) {
    std::uint16_t all[kWidth];
    store_bf16(all, v);
    for (int i = 0; i < n && i < kWidth; ++i) p[i] = all[i];
  }
  static F add(F a, F b) { return vaddq_f32(a, b); }
  static F sub(F a, F b) { return vsubq_f32(a, b); }
  static F mul(F a, F b) { return vmulq_f32(a, b); }
  static F div(F a, F b) { return vdivq_f32(a, b); }
  static F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
  static F fmaddsub(F a, F b, F c) { return vfmaq_f32(vmulq_f32(c, F{-1, 1, -1, 1}), a, b); }
  static F max(F a, F b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
  static F min(F a, F b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
  static F round(F x) { return vrndnq_f32(x); }
  static F scale2(F y, F n) {
    const int32x4_t exponent = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
    return vmulq_f32(y, vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23)));
  }
  static float sum(F v) { return vaddvq_f32(v); }
  static float max(F v) { return vmaxvq_f32(v); }
  static F swap_pairs(F v) { return vrev64q_f32(v); }
  static F load_twice(const float* p) {
    const float32x2_t v = vld1_f32(p);
    return vcombine_f32(vdup_lane_f32(v, 0), vdup_lane_f32(v, 1));
  }
  static F first(F v, int n, F other) { return vbslq_f32(lanes(n), v, other); }
  static int find(F v, F x) {
    const uint16x4_t equal = vmovn_u32(vceqq_f32(v, x));
    const std::uint64_t bits = vget_lane_u64(vreinterpret_u64_u16(equal), 0);
    return bits ? __builtin_ctzll(bits) / 16 : -1;
  }
};

}  // namespace

#endif
