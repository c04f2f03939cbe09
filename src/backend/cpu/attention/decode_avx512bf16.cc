// SPDX-License-Identifier: Apache-2.0
// Decode attention with bfloat16 dot products. Scores: four keys x up to four heads of
// accumulators along the summed dimension. Values: two rows are interleaved so that vdpbf16ps sums
// over keys; 64 columns x up to four heads of accumulators.
#include "backend/cpu/attention/decode_body.h"
#include "backend/cpu/simd/avx512.h"

namespace {

__m512bh pairs(__m512i x) {
  return reinterpret_cast<__m512bh>(x);
}

__mmask32 elements(int n) {
  return n >= 32 ? 0xffffffffu : n <= 0 ? 0u : (1u << n) - 1;
}

__m512i load(const void* row, int i, int count) {
  return _mm512_maskz_loadu_epi16(elements(count - i), static_cast<const std::uint16_t*>(row) + i);
}

// The sums of four vectors.
__m128 sums(__m512 a, __m512 b, __m512 c, __m512 d) {
  const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const __m512 x = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
  const __m256 y = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  return _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
}

// Elements [i, i + 32) of the sums; masked beyond qk_dim.
template <int H, bool kMasked>
inline __attribute__((always_inline)) void add_products(
    __m512 (&sum)[H][4], const void* const* k, const std::uint16_t* q, int i, int qk_dim) {
  const auto at = [&](const void* row) {
    return kMasked ? load(row, i, qk_dim)
                   : _mm512_loadu_si512(static_cast<const std::uint16_t*>(row) + i);
  };
  __m512i key[4];
#pragma GCC unroll 4
  for (int n = 0; n < 4; ++n) key[n] = at(k[n]);
#pragma GCC unroll 4
  for (int h = 0; h < H; ++h) {
    const __m512i x = at(q + h * qk_dim);
#pragma GCC unroll 4
    for (int n = 0; n < 4; ++n) sum[h][n] = _mm512_dpbf16_ps(sum[h][n], pairs(x), pairs(key[n]));
  }
}

template <int H>
void scores(const DecodePart& d, int head, float* s) {
  const auto* q = static_cast<const std::uint16_t*>(d.q) + static_cast<long>(head) * d.qk_dim;
  for (int j = 0; j < d.keys; j += 4) {
    const void* k[4];
    for (int n = 0; n < 4; ++n) k[n] = d.k[j + n < d.keys ? j + n : d.keys - 1];
    __m512 sum[H][4];
#pragma GCC unroll 4
    for (int h = 0; h < H; ++h) {
#pragma GCC unroll 4
      for (int n = 0; n < 4; ++n) sum[h][n] = _mm512_setzero_ps();
    }
    int i = 0;
    for (; i + 32 <= d.qk_dim; i += 32) add_products<H, false>(sum, k, q, i, d.qk_dim);
    if (i < d.qk_dim) add_products<H, true>(sum, k, q, i, d.qk_dim);
#pragma GCC unroll 4
    for (int h = 0; h < H; ++h) {
      _mm_storeu_ps(s + h * kPartKeys + j, sums(sum[h][0], sum[h][1], sum[h][2], sum[h][3]));
    }
  }
}

void store(const DecodePart& d, int head, int column, float inverse, __m512 low, __m512 high) {
  const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
  const __m512i second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  const __m512d a = _mm512_castps_pd(low);
  const __m512d b = _mm512_castps_pd(high);
  const __m512 x[2] = {_mm512_castpd_ps(_mm512_permutex2var_pd(a, first, b)),
                       _mm512_castpd_ps(_mm512_permutex2var_pd(a, second, b))};
  for (int v = 0; v < 2; ++v) {
    const int n = d.v_dim - column - 16 * v;
    if (n <= 0) return;
    const __mmask16 mask = Avx512::lanes(n);
    if (d.partial) {
      _mm512_mask_storeu_ps(d.partial + head * d.partial_stride + column + 16 * v, mask, x[v]);
      continue;
    }
    auto* out = static_cast<std::uint16_t*>(d.final) + static_cast<long>(head) * d.v_dim;
    const __m256bh y = _mm512_cvtneps_pbh(_mm512_mul_ps(x[v], _mm512_set1_ps(inverse)));
    _mm256_mask_storeu_epi16(out + column + 16 * v, mask, reinterpret_cast<__m256i>(y));
  }
}

// C x 32 columns from `column` on. p: weights as bfloat16, padded to an even number of keys.
template <int H, int C>
void values(
    const DecodePart& d, int head, int column, const std::uint16_t* p, const float* inverse) {
  __m512 sum[H][2 * C];
#pragma GCC unroll 4
  for (int h = 0; h < H; ++h) {
#pragma GCC unroll 4
    for (int c = 0; c < 2 * C; ++c) sum[h][c] = _mm512_setzero_ps();
  }
  for (int j = 0; j < d.keys; j += 2) {
    const void* row[2] = {d.v[j], d.v[j + 1 < d.keys ? j + 1 : j]};
    __m512i v[2 * C];
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c) {
      const __m512i a = load(row[0], column + 32 * c, d.v_dim);
      const __m512i b = load(row[1], column + 32 * c, d.v_dim);
      v[2 * c] = _mm512_unpacklo_epi16(a, b);
      v[2 * c + 1] = _mm512_unpackhi_epi16(a, b);
    }
#pragma GCC unroll 4
    for (int h = 0; h < H; ++h) {
      int weight;
      __builtin_memcpy(&weight, p + h * kPartKeys + j, sizeof(weight));
      const __m512i w = _mm512_set1_epi32(weight);
#pragma GCC unroll 4
      for (int c = 0; c < 2 * C; ++c)
        sum[h][c] = _mm512_dpbf16_ps(sum[h][c], pairs(w), pairs(v[c]));
    }
  }
#pragma GCC unroll 4
  for (int h = 0; h < H; ++h) {
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c) {
      store(d, head + h, column + 32 * c, inverse[h], sum[h][2 * c], sum[h][2 * c + 1]);
    }
  }
}

// Weights of one head as bfloat16, with a zero after the last.
void narrow(const float* s, int keys, std::uint16_t* p) {
  for (int j = 0; j < keys; j += 16) {
    const __m512 x = Avx512::load(s + j, keys - j);
    const __m256bh y = _mm512_cvtneps_pbh(x);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + j), reinterpret_cast<__m256i>(y));
  }
  if (keys % 16 == 0 && keys < kPartKeys) p[keys] = 0;
}

template <int H>
void heads_bf16(const DecodePart& d, int head) {
  float* s = d.scratch;
  auto* p = reinterpret_cast<std::uint16_t*>(s + kPartHeads * kPartKeys);
  scores<H>(d, head, s);
  float inverse[H];
  for (int h = 0; h < H; ++h) {
    const float* sink = d.sinks ? d.sinks + head + h : nullptr;
    const HeadSoftmax softmax = softmax_part<Avx512>(s + h * kPartKeys, d.keys, d.scale, sink);
    narrow(s + h * kPartKeys, d.keys, p + h * kPartKeys);
    inverse[h] = 1.0f / softmax.sum;
    if (!d.partial) continue;
    float* end = d.partial + (head + h) * d.partial_stride + d.v_dim;
    end[0] = softmax.max;
    end[1] = softmax.sum;
  }
  int column = 0;
  for (; column + 64 <= d.v_dim; column += 64) values<H, 2>(d, head, column, p, inverse);
  for (; column < d.v_dim; column += 32) values<H, 1>(d, head, column, p, inverse);
}

void decode_part_bf16(const DecodePart& d) {
  for (int head = 0; head < d.heads; head += kPartHeads) {
    switch (d.heads - head) {
      case 1:
        heads_bf16<1>(d, head);
        break;
      case 2:
        heads_bf16<2>(d, head);
        break;
      case 3:
        heads_bf16<3>(d, head);
        break;
      default:
        heads_bf16<4>(d, head);
        break;
    }
  }
}

}  // namespace

namespace braid::cpu {

extern const DecodeTier kAvx512Bf16Decode{decode_part_bf16, merge_parts<Avx512>, decode_fp8};

}  // namespace braid::cpu
