// SPDX-License-Identifier: Apache-2.0
// choose_tokens: the steps of sample/choose.cc with its roundings, so that a draw gives the host's token.
//
// The idea: weights of one magnitude (exponent and three bits) add up without rounding whatever their order,
// so masses are counted in integers. The least weight that stays, by rank or by mass, is found digit by digit
// from histograms: 12 bits, then 10, then 10.
// Memory: the row is read once for its largest value; for chance it becomes weights in place, which each
// histogram and the sums of chunks read once more, out of the L2 cache. Warps: a block a row; what the
// definition does one after another (sums of doubles) one thread does. Bound: latency.
#include <cmath>

#include "backend/cuda/rows/element.cuh"
#include "backend/cuda/rows/rows.h"

namespace braid::cuda {
namespace {

using ops::ChooseTokens;

constexpr int kThreads = 1024;
constexpr int kBins = 1024;
constexpr int kDigit = 10;      // bits of a bin
constexpr int kFirstShift = 20;  // bits below the first digit
constexpr int kChunk = 64;      // weights whose sum the definition rounds on its own
constexpr int kAhead = 4;

struct Best {
  float value;
  int id;
};
__device__ inline Best better(const Best& a, const Best& b) {
  return b.value > a.value || (b.value == a.value && b.id < a.id) ? b : a;
}

struct Shared {
  Best best[kThreads / 32];
  unsigned counts[kBins];
  unsigned long long masses[kBins];  // sums of significands
  int warps[kThreads / 32];
  // What thread 0 found:
  unsigned digit;
  int rank;
  double wanted;
  int token;
};

// Calls visit(column, value) for the columns of this thread.
template <class Visit>
__device__ inline void for_row(const float* row, int columns, Visit visit) {
  for (int first = threadIdx.x; first < columns; first += kAhead * kThreads) {
    float value[kAhead];
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      if (first + j * kThreads < columns) value[j] = __ldcg(row + first + j * kThreads);
    }
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      if (first + j * kThreads < columns) visit(first + j * kThreads, value[j]);
    }
  }
}

// The first of the largest values, in every thread; NaN is none.
__device__ Best largest(const float* row, int columns, Shared& s) {
  Best best{-INFINITY, 0x7fffffff};
  for_row(row, columns, [&](int column, float value) {
    if (value > best.value) best = {value, column};
  });
  const auto join = [](Best mine) {
    for (int offset = 16; offset > 0; offset /= 2) {
      mine = better(mine, {__shfl_xor_sync(~0u, mine.value, offset), __shfl_xor_sync(~0u, mine.id, offset)});
    }
    return mine;
  };
  best = join(best);
  if (threadIdx.x % 32 == 0) s.best[threadIdx.x / 32] = best;
  __syncthreads();
  return join(s.best[threadIdx.x % 32]);
}

// sample::exp_row(), operation by operation.
__device__ inline float exp_of(float z) {
  const float y = z > -87.0f ? z : -87.0f;
  const float shifted = __fadd_rn(__fmul_rn(y, 1.44269504f), 12582912.0f);
  const float n = __fsub_rn(shifted, 12582912.0f);
  const float r = __fsub_rn(__fsub_rn(y, __fmul_rn(n, 0.693359375f)), __fmul_rn(n, -2.12194440e-4f));
  float p = __fadd_rn(__fmul_rn(r, 1.0f / 720), 1.0f / 120);
  p = __fadd_rn(__fmul_rn(p, r), 1.0f / 24);
  p = __fadd_rn(__fmul_rn(p, r), 1.0f / 6);
  p = __fadd_rn(__fmul_rn(p, r), 0.5f);
  p = __fadd_rn(__fmul_rn(p, r), 1.0f);
  p = __fadd_rn(__fmul_rn(p, r), 1.0f);
  const float power = __int_as_float((__float_as_int(shifted) + 127) << 23);
  return z > -87.0f ? __fmul_rn(p, power) : 0.0f;
}

__device__ inline void weigh(float* row, const ChooseTokens::Draw& d, float top) {
  const float scale = __fdiv_rn(1.0f, d.temperature);
  for_row(row, d.columns, [&](int column, float value) {
    const float weight = exp_of(__fmul_rn(__fsub_rn(value, top), scale));
    row[column] = d.min_p > 0 && !(weight >= d.min_p) ? 0.0f : weight;
  });
}

// How much weight a bin has: its significands, all of one exponent, which the bits above the third digit tell.
__device__ inline double mass_of(unsigned long long significands, unsigned bits) {
  return ldexp(static_cast<double>(significands), static_cast<int>(bits >> 23) - 150);
}

// Counts and masses of the weights from `least` on whose bits above `shift + kDigit` are `prefix`, by the digit there.
__device__ void fill_bins(const float* row, int columns, float least, int shift, unsigned prefix, Shared& s) {
  __syncthreads();
  s.counts[threadIdx.x] = 0;
  s.masses[threadIdx.x] = 0;
  __syncthreads();
  for (int first = 0; first < columns; first += kThreads) {
    const int column = first + static_cast<int>(threadIdx.x);
    const float weight = column < columns ? __ldcg(row + column) : 0.0f;
    const unsigned bits = __float_as_uint(weight);
    const bool inside = weight > 0 && weight >= least && (shift == kFirstShift || bits >> (shift + kDigit) == prefix);
    const unsigned bin = inside ? bits >> shift & (kBins - 1) : kBins;
    const unsigned same = __match_any_sync(~0u, bin);
    const unsigned sum = __reduce_add_sync(same, (bits & 0x7fffffu) | 0x800000u);
    if (!inside || threadIdx.x % 32 != __ffs(static_cast<int>(same)) - 1) continue;
    atomicAdd(&s.counts[bin], __popc(same));
    atomicAdd(&s.masses[bin], static_cast<unsigned long long>(sum));
  }
  __syncthreads();
}

// The k-th largest weight; 0 when fewer are above 0.
__device__ float kth_largest(const float* row, int columns, int k, Shared& s) {
  unsigned prefix = 0;
  if (threadIdx.x == 0) s.rank = k;
  for (int shift = kFirstShift; shift >= 0; shift -= kDigit) {
    fill_bins(row, columns, 0.0f, shift, prefix, s);
    if (threadIdx.x == 0) {
      int bin = kBins - 1;
      while (bin >= 0 && static_cast<int>(s.counts[bin]) < s.rank) s.rank -= static_cast<int>(s.counts[bin--]);
      s.digit = static_cast<unsigned>(bin);
    }
    __syncthreads();
    if (s.digit >= kBins) return 0.0f;
    prefix = prefix << kDigit | s.digit;
  }
  return __uint_as_float(prefix);
}

// Where the likeliest weights that hold a share end: those above `least` and the first `ties` of those equal to it.
struct Cut {
  float least;
  int ties;  // -1: all
};

// Thread 0: the digit at which what is wanted is reached, or the last one that has any weight.
__device__ inline void find_digit(int shift, unsigned prefix, Shared& s) {
  s.digit = kBins;
  for (int bin = kBins - 1; bin >= 0; --bin) {
    if (s.counts[bin] == 0) continue;
    s.digit = static_cast<unsigned>(bin);
    const double mass = mass_of(s.masses[bin], (prefix << kDigit | s.digit) << shift);
    if (mass >= s.wanted) return;
    s.wanted -= mass;
  }
  s.wanted = INFINITY;  // rounding: all are needed
}

__device__ Cut share_of(const float* row, int columns, float least, double share, Shared& s) {
  unsigned prefix = 0;
  for (int shift = kFirstShift; shift >= 0; shift -= kDigit) {
    fill_bins(row, columns, least, shift, prefix, s);
    if (threadIdx.x == 0) {
      if (shift == kFirstShift) {
        double total = 0;
        for (unsigned bin = 0; bin < kBins; ++bin) {
          if (s.counts[bin] > 0) total += mass_of(s.masses[bin], bin << shift);
        }
        s.wanted = share * total;
      }
      find_digit(shift, prefix, s);
    }
    __syncthreads();
    prefix = prefix << kDigit | s.digit;
  }
  const float weight = __uint_as_float(prefix);
  const int count = static_cast<int>(s.counts[s.digit]);
  if (!(s.wanted <= static_cast<double>(count) * weight)) return {weight, -1};
  int ties = max(1, static_cast<int>(s.wanted / weight));
  while (ties > 1 && (ties - 1) * static_cast<double>(weight) >= s.wanted) --ties;
  while (ties < count && ties * static_cast<double>(weight) < s.wanted) ++ties;
  return {weight, ties};
}

// Leaves the first `ties` weights of exactly this size.
__device__ void drop_ties(float* row, int columns, const Cut& cut, Shared& s) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int seen = 0;
  for (int first = 0; first < columns; first += kThreads) {
    const int column = first + static_cast<int>(threadIdx.x);
    const bool tie = column < columns && row[column] == cut.least;
    const unsigned votes = __ballot_sync(~0u, tie);
    __syncthreads();
    if (lane == 0) s.warps[warp] = __popc(votes);
    __syncthreads();
    int before = seen + __popc(votes & ((1u << lane) - 1));
    for (int w = 0; w < kThreads / 32; ++w) {
      if (w < warp) before += s.warps[w];
      seen += s.warps[w];
    }
    if (tie && before >= cut.ties) row[column] = 0;
  }
  __syncthreads();
}

__device__ inline float kept(float weight, float least) { return weight >= least ? weight : 0.0f; }

// sample::sum_chunks()
__device__ void sum_chunks(const float* row, int columns, float least, double* sums) {
  for (int chunk = threadIdx.x; chunk * kChunk < columns; chunk += kThreads) {
    const int last = min(columns, (chunk + 1) * kChunk);
    float lanes[4] = {};
    int i = chunk * kChunk;
    for (; i + 4 <= last; i += 4) {
#pragma unroll
      for (int j = 0; j < 4; ++j) lanes[j] = __fadd_rn(lanes[j], kept(row[i + j], least));
    }
    double sum = __fadd_rn(__fadd_rn(lanes[0], lanes[1]), __fadd_rn(lanes[2], lanes[3]));
    for (; i < last; ++i) sum += kept(row[i], least);
    sums[chunk] = sum;
  }
  __syncthreads();
}

__device__ int draw_from(const float* row, int columns, float least, double draw, const double* sums) {
  const int chunks = (columns + kChunk - 1) / kChunk;
  double total = 0;
#pragma unroll 8
  for (int chunk = 0; chunk < chunks; ++chunk) total += sums[chunk];
  double left = draw * total;
  int chunk = 0;
  for (; chunk + 1 < chunks && left >= sums[chunk]; ++chunk) left -= sums[chunk];
  int last = -1;
  for (int i = chunk * kChunk; i < columns; ++i) {
    const float weight = kept(row[i], least);
    if (weight <= 0) continue;
    left -= weight;
    last = i;
    if (left < 0) return i;
  }
  for (int i = chunk * kChunk - 1; last < 0 && i >= 0; --i) {
    if (kept(row[i], least) > 0) last = i;
  }
  return last;
}

__global__ void __launch_bounds__(kThreads) choose_kernel(const __grid_constant__ ChooseTokens::Args a) {
  __shared__ Shared s;
  extern __shared__ double sums[];
  const ChooseTokens::Draw d = a.draws[blockIdx.x];
  if (d.by == ChooseTokens::By::kHost) return;
  float* const row = a.logits.data + blockIdx.x * a.logits.stride;
  const Best best = largest(row, d.columns, s);
  if (d.by == ChooseTokens::By::kLargest || !isfinite(best.value)) {
    const bool found = d.by == ChooseTokens::By::kLargest && best.value > -INFINITY;
    if (threadIdx.x == 0) a.tokens[blockIdx.x] = found ? best.id : -1;
    return;
  }
  weigh(row, d, best.value);
  __syncthreads();
  Cut cut{0.0f, -1};
  if (d.top_k > 0 && d.top_k < d.columns) cut.least = kth_largest(row, d.columns, d.top_k, s);
  if (d.top_p < 1) cut = share_of(row, d.columns, cut.least, d.top_p, s);
  if (cut.ties >= 0) drop_ties(row, d.columns, cut, s);
  sum_chunks(row, d.columns, cut.least, sums);
  if (threadIdx.x == 0) a.tokens[blockIdx.x] = draw_from(row, d.columns, cut.least, d.draw, sums);
}

}  // namespace

void choose_tokens(const ChooseTokens::Args& a, braid::Stream& s) {
  const std::size_t shared = blocks_for(a.logits.cols, kChunk) * sizeof(double);
  launch(stream(s), "choose_tokens", choose_kernel, dim3(static_cast<unsigned>(a.logits.rows)), kThreads, shared, a);
}

}  // namespace braid::cuda
