// SPDX-License-Identifier: Apache-2.0
// attention_decode of absorbed latent attention on Hopper's tensor cores: keys of 576 elements, of which the
// first 512 are the value; splits and their merge: splits.cuh.
//
// A block takes 64 heads of one query row and a split of its keys, which it walks over 64 at a time with a
// running softmax. Shared memory, rows of 128 swizzled bytes: queries [panel][64] and two stages of keys
// [panel][64], a panel being 64 elements. Warps: two warpgroups, each with a stage that it fills and scores in its
// turn; the scores' weights go into the stage's last panel, in which no value lies, and then both multiply them
// by their half of the values' columns, whose sums stay in registers. While one scores the other fills.
// Codes of an FP8 cache come into panels 4 to 7, a row of 128 each, and become two panels of bfloat16 beginning with
// the first, by the threads that copied them, while the tensor cores multiply the other stage's values.
// Bound: the bytes of the cache up to 64 heads, the rate of wgmma beyond.
#include <algorithm>
#include <bit>

#include "backend/cuda/attention/attention.h"
#include "backend/cuda/attention/splits.cuh"
#include "backend/cuda/ptx/async_copy.cuh"
#include "backend/cuda/ptx/barrier.cuh"
#include "backend/cuda/ptx/warp.cuh"
#include "backend/cuda/ptx/wgmma.cuh"

namespace braid::cuda {
namespace {

constexpr int kRows = 64;  // heads of a block
constexpr int kKeys = 64;  // of a stage
constexpr int kQk = 576;
constexpr int kV = 512;
constexpr int kPanels = kQk / 64;
constexpr int kWeightPanel = kV / 64;
constexpr int kCodes = 4;  // panels of e4m3 codes, and scales of a row
constexpr int kRowBytes = 128;  // of a panel
constexpr int kPanelBytes = kKeys * kRowBytes;
constexpr int kTileBytes = kPanels * kPanelBytes;
constexpr int kGroup = 128;
constexpr int kThreads = 2 * kGroup;
constexpr int kColumns = kV / 2;  // of a warpgroup
// Named barriers: of one warpgroup, of both when a stage is weighed, of both when it may be filled again.
constexpr int kOne = 1, kWeighed = 3, kFree = 4;
constexpr float kLog2e = 1.4426950408889634f;
// A maximum stays while no exponent of two exceeds it by more: weights are at most 2^kSlack, and outputs seldom shrink.
constexpr float kSlack = 8.0f;
constexpr float kLn2 = 0.6931471805599453f;

struct Shared {
  char queries[kTileBytes];
  char keys[2][kTileBytes];
  float scales[2][kKeys][kCodes];  // of an FP8 cache
  float top[kRows];  // that weights are relative to, an exponent of two
  float keep[2][kRows];  // by stage: what the output shrinks by
  float sum[2][kRows];
};

// What a block works on.
struct Part {
  std::int64_t row;
  int split, first_head, heads, first_key, keys;

  __device__ explicit Part(const DecodeTask& t) : row(blockIdx.z), split(blockIdx.x), first_head(blockIdx.y * kRows) {
    heads = min(kRows, t.shape.heads - first_head);
    first_key = split * t.split_keys;
    keys = min(t.rows[row].context - first_key, t.split_keys);
  }
  __device__ int tiles() const { return (keys + kKeys - 1) / kKeys; }
};

// Piece `lane` of 16 bytes of a row of a panel.
__device__ inline int piece_at(int panel, int row, int lane) { return panel * kPanelBytes + row * kRowBytes + (lane ^ row % 8) * 16; }

template <bool kFp8>
struct Warpgroup {
  const DecodeTask& t;
  Shared& shared;
  const Part& part;
  int group, warp, lane;
  int row;  // of this lane; the second is row + 8
  float o[kColumns / 2] = {};
  float scores[kKeys / 2];
  float added[2] = {0, 0};  // weights of this lane's keys of the own stage
  float sum[2] = {0, 0};    // of all own stages before

  __device__ Warpgroup(const DecodeTask& task, Shared& memory, const Part& p)
      : t(task), shared(memory), part(p), group(threadIdx.x / kGroup), warp(threadIdx.x % kGroup / 32), lane(threadIdx.x % 32),
        row(warp * 16 + lane / 4) {}

  __device__ void load_queries() {
    const auto* const from = static_cast<const __nv_bfloat16*>(row_of(t.q, part.row)) + part.first_head * kQk;
    for (int i = threadIdx.x; i < kRows * kPanels * 8; i += kThreads) {
      const int head = i / (kPanels * 8), piece = i % (kPanels * 8);
      const bool exists = head < part.heads;
      ptx::copy_16(shared.queries + piece_at(piece / 8, head, piece % 8), exists ? static_cast<const void*>(from + head * kQk + piece * 8) : t.q.data,
                   exists ? 16 : 0);
    }
    ptx::commit_copies();
    if (threadIdx.x < kRows) shared.top[threadIdx.x] = -INFINITY;
  }

  // Where this thread's pieces of the rows of a tile lie; null behind the last key.
  struct Source {
    static constexpr int kTogether = kGroup / 8, kEach = kKeys / kTogether;  // rows that a warpgroup copies at once
    const char* from[kEach];
  };
  __device__ Source find(int tile) const {
    const std::int32_t* const table = t.rows[part.row].table;
    Source source;
#pragma unroll
    for (int i = 0; i < Source::kEach; ++i) {
      const int key = tile * kKeys + threadIdx.x % kGroup / 8 + i * Source::kTogether, position = part.first_key + key;
      source.from[i] = nullptr;
      if (key >= part.keys) continue;
      const std::int64_t at = static_cast<std::int64_t>(table[position / t.block_size]) * t.block_size + position % t.block_size;
      source.from[i] = static_cast<const char*>(t.k.base) + at * t.k.row_stride * (kFp8 ? 1 : 2) + threadIdx.x % 8 * 16;
    }
    return source;
  }

  // Starts the copies of a tile into this warpgroup's stage, zeros behind the last key.
  __device__ void fill(const Source& source) {
    constexpr int kFirst = kFp8 ? kCodes : 0;
#pragma unroll
    for (int panel = kFirst; panel < kPanels; ++panel) {
      const int skip = kFp8 && panel == kWeightPanel ? kV + kCodes * 4 : (panel - kFirst) * kRowBytes;
#pragma unroll
      for (int i = 0; i < Source::kEach; ++i) {
        const char* const from = source.from[i];
        ptx::copy_16(shared.keys[group] + own_piece(panel, i), from ? from + skip : t.k.base, from ? 16 : 0);
      }
    }
    if (kFp8 && threadIdx.x % 8 == 0) {
#pragma unroll
      for (int i = 0; i < Source::kEach; ++i) {
        const char* const from = source.from[i];
        ptx::copy_16(shared.scales[group][own_row(i)], from ? from + kV : t.k.base, from ? 16 : 0);
      }
    }
    ptx::commit_copies();
  }

  // Rows of a stage that this thread fills, and its piece of them.
  __device__ int own_row(int i) const { return threadIdx.x % kGroup / 8 + i * Source::kTogether; }
  __device__ int own_piece(int panel, int i) const { return piece_at(panel, own_row(i), threadIdx.x % 8); }

  // Waits for this warpgroup's stage of an FP8 cache and makes it bfloat16. Rows are a warp's own.
  __device__ void decode() {
    if constexpr (!kFp8) return;
    char* const keys = shared.keys[group];
    ptx::wait_copies<0>();
    __syncwarp();
#pragma unroll
    for (int part = 0; part < kCodes; ++part) {
      uint4 codes[Source::kEach];
#pragma unroll
      for (int i = 0; i < Source::kEach; ++i) codes[i] = *reinterpret_cast<const uint4*>(keys + own_piece(kCodes + part, i));
      __syncwarp();
#pragma unroll
      for (int i = 0; i < Source::kEach; ++i) put_decoded(keys, part, i, codes[i]);
    }
  }

  // Eight lanes write a row of two panels: four begin with the pieces that the others end with.
  __device__ void put_decoded(char* keys, int part, int i, const uint4& codes) const {
    const int in_panel = threadIdx.x % 4 * 2, second = threadIdx.x / 4 % 2;
    const float scale = shared.scales[group][own_row(i)][part];
    const uint2 a = fp8_to_bf16(codes.x, scale), b = fp8_to_bf16(codes.y, scale), c = fp8_to_bf16(codes.z, scale), d = fp8_to_bf16(codes.w, scale);
    const uint4 low = {a.x, a.y, b.x, b.y}, high = {c.x, c.y, d.x, d.y};
    const int panel = 2 * part + second;
    *reinterpret_cast<uint4*>(keys + piece_at(panel, own_row(i), in_panel + second)) = second ? high : low;
    *reinterpret_cast<uint4*>(keys + piece_at(panel, own_row(i), in_panel + 1 - second)) = second ? low : high;
  }

  // Waits for this warpgroup's stage and starts the products of its keys.
  __device__ void score() {
    ptx::wait_copies<0>();
    ptx::fence_async_shared();
    ptx::named_barrier_sync(kOne + group, kGroup);
    const std::uint32_t queries = ptx::shared_address(shared.queries), keys = ptx::shared_address(shared.keys[group]);
    ptx::wgmma_fence();
#pragma unroll
    for (int k = 0; k < kQk / 16; ++k) {
      ptx::Wgmma<kKeys>::bf16(scores, ptx::swizzled_operand(queries + k / 4 * kPanelBytes) + k % 4 * 2,
                              ptx::swizzled_operand(keys + k / 4 * kPanelBytes) + k % 4 * 2, k != 0);
    }
    ptx::wgmma_commit();
  }

  // Scores become weights, whose panel is complete when this warpgroup next meets the other.
  __device__ void weigh(int tile) {
    const float factor = t.shape.scale * kLog2e;
    const int count = part.keys - tile * kKeys;
#pragma unroll
    for (float& x : scores) ptx::wgmma_pin(x);
    if (count < kKeys) {
#pragma unroll
      for (int i = 0; i < kKeys / 2; ++i) {
        if (i / 4 * 8 + lane % 4 * 2 + i % 2 >= count) scores[i] = -INFINITY;
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float before = shared.top[row + 8 * half];
      float most = -INFINITY;
#pragma unroll
      for (int i = 0; i < kKeys / 4; ++i) most = fmaxf(most, scores[i / 2 * 4 + 2 * half + i % 2]);
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
      most *= factor;
      if (most - before <= kSlack) most = before;
      added[half] = 0;
#pragma unroll
      for (int i = 0; i < kKeys / 4; ++i) {
        float& x = scores[i / 2 * 4 + 2 * half + i % 2];
        added[half] += x = ptx::exp2(x * factor - most);
      }
      __syncwarp();
      if (lane % 4 != 0) continue;
      shared.top[row + 8 * half] = most;
      shared.keep[group][row + 8 * half] = ptx::exp2(before - most);
    }
    ptx::named_barrier_sync(kOne + group, kGroup);  // all warps have read the last panel
    put_weights();
    ptx::fence_async_shared();
  }

  __device__ void put_weights() const {
    const std::uint32_t panel = ptx::shared_address(shared.keys[group]);
    const auto& w = scores;
#pragma unroll
    for (int j = 0; j < kKeys / 8; j += 2) {
      ptx::store_matrices(panel + piece_at(kWeightPanel, warp * 16 + lane / 8 % 2 * 8 + lane % 8, j + lane / 16), pack_bf16(w[4 * j], w[4 * j + 1]),
                          pack_bf16(w[4 * j + 2], w[4 * j + 3]), pack_bf16(w[4 * j + 4], w[4 * j + 5]), pack_bf16(w[4 * j + 6], w[4 * j + 7]));
    }
  }

  __device__ void shrink(int stage) {
    const float keep[2] = {shared.keep[stage][row], shared.keep[stage][row + 8]};
    for (int half = 0; half < 2; ++half) sum[half] = sum[half] * keep[half] + (stage == group ? added[half] : 0.0f);
    if (__all_sync(~0u, keep[0] == 1.0f && keep[1] == 1.0f)) return;
#pragma unroll
    for (int i = 0; i < kColumns / 2; ++i) o[i] *= keep[i / 2 % 2];
  }

  // Starts the products of a weighed stage with this warpgroup's columns.
  __device__ void add_values(int stage) {
    const std::uint32_t keys = ptx::shared_address(shared.keys[stage]), values = keys + group * (kColumns / 64) * kPanelBytes;
#pragma unroll
    for (float& x : o) ptx::wgmma_pin(x);
    ptx::wgmma_fence();
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      ptx::Wgmma<kColumns>::bf16_turned(o, ptx::swizzled_operand(keys + kWeightPanel * kPanelBytes) + k * 2,
                                        ptx::turned_operand(values + k * 16 * kRowBytes, kPanelBytes));
    }
    ptx::wgmma_commit();
  }

  __device__ void wait_for_values() {
    ptx::wgmma_wait<0>();
#pragma unroll
    for (float& x : o) ptx::wgmma_pin(x);
  }

  // The values of a tile that this warpgroup has weighed.
  __device__ void finish_own(int tile) {
    ptx::named_barrier_sync(kWeighed, kThreads);
    shrink(group);
    add_values(group);
    const Source next = find(tile + 2);  // while the values are multiplied
    wait_for_values();
    if (tile + 2 >= part.tiles()) return;
    ptx::named_barrier_sync(kFree + group, kThreads);
    fill(next);
  }

  // The values of a tile of the other warpgroup.
  __device__ void finish_other(int tile) {
    ptx::named_barrier_sync(kWeighed, kThreads);
    shrink(group ^ 1);
    add_values(group ^ 1);
    if (tile + 1 < part.tiles()) decode();
    wait_for_values();
    if (tile + 2 < part.tiles()) ptx::named_barrier_arrive(kFree + (group ^ 1), kThreads);
  }

  __device__ void score_and_weigh(int tile) {
    score();
    ptx::wgmma_wait<0>();
    weigh(tile);
  }

  __device__ void run() {
    load_queries();
    fill(find(group));
    ptx::wait_copies<1>();  // of the queries
    ptx::fence_async_shared();
    __syncthreads();
    if (group == 0) decode(), score_and_weigh(0);
    for (int tile = 0; tile < part.tiles(); ++tile) {
      if (tile % 2 == group) {
        finish_own(tile);
      } else {
        finish_other(tile);
        if (tile + 1 < part.tiles()) score_and_weigh(tile + 1);
      }
    }
    finish();
  }

  __device__ void finish() {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      sum[half] += __shfl_xor_sync(~0u, sum[half], 1);
      sum[half] += __shfl_xor_sync(~0u, sum[half], 2);
      if (lane % 4 == 0) shared.sum[group][row + 8 * half] = sum[half];
    }
    ptx::named_barrier_sync(kWeighed, kThreads);
    const bool whole = t.rows[part.row].context <= t.split_keys;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int mine = row + 8 * half, head = part.first_head + mine;
      if (mine >= part.heads) continue;
      const float total = shared.sum[0][mine] + shared.sum[1][mine];
      if (whole) put_output(head, half, total);
      else put_part(head, half, total);
    }
  }

  __device__ void put_output(int head, int half, float total) {
    auto* const to = static_cast<__nv_bfloat16*>(row_of(t.out, part.row)) + head * kV + group * kColumns + lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < kColumns / 8; ++n) {
      *reinterpret_cast<std::uint32_t*>(to + n * 8) = pack_bf16(o[4 * n + 2 * half] / total, o[4 * n + 2 * half + 1] / total);
    }
  }

  __device__ void put_part(int head, int half, float total) {
    float* const to = t.part(part.row, head, part.split);
#pragma unroll
    for (int n = 0; n < kColumns / 8; ++n) {
      *reinterpret_cast<float2*>(to + group * kColumns + n * 8 + lane % 4 * 2) = {o[4 * n + 2 * half], o[4 * n + 2 * half + 1]};
    }
    if (group == 0 && lane % 4 == 0) *reinterpret_cast<float2*>(to + kV) = {shared.top[row + 8 * half] * kLn2, total};
  }
};

template <bool kFp8>
__global__ void __launch_bounds__(kThreads, 1) mla_kernel(const __grid_constant__ DecodeTask t) {
  extern __shared__ __align__(1024) char memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  const Part part(t);
  if (part.keys <= 0) return;
  Warpgroup<kFp8>(t, shared, part).run();
}

// Keys of a split: the more heads, the more a split's output weighs beside its keys.
int split_keys(const ops::AttentionShape& shape) {
  const int per_32_heads = static_cast<int>(std::bit_ceil(blocks_for(std::min(shape.heads, 2 * kRows), 32)));
  return 2 * ops::AttentionDecode::kSplit * per_32_heads;
}

}  // namespace

void decode_hopper(const ops::AttentionDecode::Args& a, braid::Stream& s) {
  DecodeTask task = decode_task(a, split_keys(a.shape));
  task.whole_rows_done = true;
  const auto rows = static_cast<unsigned>(a.rows.size());
  const dim3 grid(static_cast<unsigned>(task.splits), blocks_for(a.shape.heads, kRows), rows);
  const auto kernel = a.k.dtype == DType::kF8E4M3 ? mla_kernel<true> : mla_kernel<false>;
  launch(stream(s), "attention_decode", kernel, grid, kThreads, sizeof(Shared), task);
  merge_splits(task, rows, stream(s));
}

}  // namespace braid::cuda
