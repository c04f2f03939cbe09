// SPDX-License-Identifier: Apache-2.0
// attention_decode for grouped queries with heads of 64 or 128 elements, on BF16 tensor cores, for BF16 and FP8
// caches; splits and their merge: splits.cuh; tiles and products: gqa_tiles.cuh.
//
// A block takes one query row, up to 16 heads that share a kv head, and a split of 512 keys. Its four warps never meet
// before the end: each walks over every fourth tile of 16 keys with a running softmax of its own, so that copies go on
// while another warp computes; where the keys lie is looked up once, before the first. At the end the four are added
// in the order of the warps, and a row with one split is finished here. Shared memory: queries [16][dim], three stages
// of keys [16][dim] and values [16][dim] for each warp, over which the sums [4][16][dim] lie at the end. Bound: the
// bytes of the cache.
#include "backend/cuda/attention/attention.h"
#include "backend/cuda/attention/gqa_tiles.cuh"
#include "backend/cuda/ptx/warp.cuh"

namespace braid::cuda {
namespace {

constexpr int kHeads = 16, kWarps = 4, kThreads = 32 * kWarps, kStages = 3;
constexpr int kKeys = kGqaKeys;  // of a tile
constexpr int kSplitKeys = 512, kTiles = kSplitKeys / (kKeys * kWarps);  // of a warp
constexpr float kLog2E = 1.4426950408889634f;

template <int kDim, class Tile>
struct Shared {
  __nv_bfloat16 queries[kHeads * kDim];
  float top[kWarps][kHeads], sum[kWarps][kHeads];
  union {
    char stages[kWarps][kStages][Tile::kBytes];
    float sums[kWarps][kHeads][kDim];
  };
};

template <int kDim, class Tile>
struct Warp {
  const DecodeTask& t;
  Shared<kDim, Tile>& shared;
  const int number, lane, kv_head, keys;  // keys: of the split
  std::int64_t row_at[kTiles / 2];  // this lane's cache rows: of two tiles each, first those that are loaded next
  std::uint32_t query[kDim / 16][4];
  float o[kDim / 8][4] = {};
  float top[2] = {-INFINITY, -INFINITY}, sum[2] = {};  // of heads lane / 4 and lane / 4 + 8; maxima of exponents of 2

  __device__ __forceinline__ Warp(const DecodeTask& task, Shared<kDim, Tile>& memory, int head, const DecodeTask::Keys& seen, std::int64_t row)
      : t(task), shared(memory), number(ptx::warp_number()), lane(threadIdx.x % 32), kv_head(head), keys(seen.count) {
#pragma unroll
    for (int i = 0; i < kTiles / 2; ++i) {
      const int key = first_key_of(2 * i + lane / kKeys) + lane % kKeys;
      row_at[i] = key < keys ? paged_row(t.rows[row].table, t.block_size, seen.begin + key) : -1;
    }
  }

  __device__ __forceinline__ int first_key_of(int tile) const { return (tile * kWarps + number) * kKeys; }
  __device__ __forceinline__ char* stage(int tile) const { return shared.stages[number][tile % kStages]; }

  // Starts the copies of a tile, which come in rising order; a group of copies even when there is none.
  __device__ __forceinline__ void load(int tile) {
    if (tile < kTiles && first_key_of(tile) < keys) {
      constexpr int kPieces = Tile::kPieces, kRowsAtOnce = 32 / kPieces;
#pragma unroll
      for (int first = 0; first < kKeys; first += kRowsAtOnce) {
        const int r = first + lane / kPieces;
        const std::int64_t row = __shfl_sync(~0u, row_at[0], tile % 2 * kKeys + r);
        Tile::load_piece(t, stage(tile), r, row, kv_head, lane % kPieces);
      }
      Tile::load_scale(t, stage(tile), lane, __shfl_sync(~0u, row_at[0], tile % 2 * kKeys + lane % kKeys), kv_head);
      if (tile % 2 == 1) {
#pragma unroll
        for (int i = 1; i < kTiles / 2; ++i) row_at[i - 1] = row_at[i];
      }
    }
    ptx::commit_copies();
  }

  __device__ __forceinline__ void load_queries() { Tile::load_queries(reinterpret_cast<const char*>(shared.queries), query); }

  // Exponents of 2 of a tile's keys, of this lane's heads and keys.
  __device__ __forceinline__ void score(int tile, float (&c)[2][4]) const {
    Tile::score(stage(tile), query, c);
    const int first = first_key_of(tile) + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const bool seen = first + i / 4 * 8 + i % 2 < keys;
      c[i / 4][i % 4] = seen ? c[i / 4][i % 4] * (t.shape.scale * kLog2E) : -INFINITY;
    }
  }

  // From exponents to weights; what was summed before shrinks with a new maximum.
  __device__ __forceinline__ void weigh(float (&c)[2][4]) {
    float keep[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float most = fmaxf(fmaxf(c[0][2 * h], c[0][2 * h + 1]), fmaxf(c[1][2 * h], c[1][2 * h + 1]));
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
      most = fmaxf(top[h], fmaxf(most, __shfl_xor_sync(~0u, most, 2)));
      keep[h] = ptx::exp2(top[h] - most);
      top[h] = most;
      sum[h] *= keep[h];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float& weight = c[i / 2][2 * h + i % 2];
        weight = ptx::exp2(weight - most);
        sum[h] += weight;
      }
    }
    if (__all_sync(~0u, keep[0] == 1 && keep[1] == 1)) return;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) o[n][0] *= keep[0], o[n][1] *= keep[0], o[n][2] *= keep[1], o[n][3] *= keep[1];
  }

  __device__ __forceinline__ void visit(int tile) {
    float c[2][4] = {};
    score(tile, c);
    weigh(c);
    Tile::add(stage(tile), c, o);
  }

  __device__ __forceinline__ void run() {
    for (int tile = 0; tile < kTiles && first_key_of(tile) < keys; ++tile) {
      ptx::wait_copies<kStages - 2>();
      __syncwarp();
      load(tile + kStages - 1);
      visit(tile);
    }
    ptx::wait_copies<0>();
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      sum[h] += __shfl_xor_sync(~0u, sum[h], 1);
      sum[h] += __shfl_xor_sync(~0u, sum[h], 2);
    }
  }

  // For the others of the block, who have run too.
  __device__ __forceinline__ void put() {
    const int g = lane / 4;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      Tile::put(o, h, shared.sums[number][g + 8 * h]);
      if (lane % 4 == 0) shared.top[number][g + 8 * h] = top[h], shared.sum[number][g + 8 * h] = sum[h];
    }
  }
};

// What the warps found becomes the split's part, or the row's output if it has no other split.
template <int kDim, class Tile>
__device__ void finish(const DecodeTask& t, const Shared<kDim, Tile>& shared, std::int64_t row, int first_head, int heads, int split) {
  const bool whole = t.rows[row].context <= t.split_keys;
  for (int i = threadIdx.x; i < heads * kDim; i += kThreads) {
    const int h = i / kDim, c = i % kDim, head = first_head + h;
    const float sink = whole && t.sinks ? t.sinks[head] * kLog2E : -INFINITY;
    float top = sink, out = 0;
    for (int w = 0; w < kWarps; ++w) top = fmaxf(top, shared.top[w][h]);
    float sum = ptx::exp2(sink - top);
    for (int w = 0; w < kWarps; ++w) {
      const float weight = ptx::exp2(shared.top[w][h] - top);
      sum += shared.sum[w][h] * weight;
      if (weight > 0) out += shared.sums[w][h][c] * weight;
    }
    if (whole) {
      store(row_of(t.out, row), t.out.dtype, head * kDim + c, out / sum);
      continue;
    }
    float* const part = t.part(row, head, split);
    part[c] = out;
    if (c == 0) part[kDim] = top / kLog2E, part[kDim + 1] = sum;
  }
}

template <int kDim, class Tile>
__global__ void __launch_bounds__(kThreads, 2) gqa_kernel(const __grid_constant__ DecodeTask t) {
  extern __shared__ __align__(128) char memory[];
  auto& shared = *reinterpret_cast<Shared<kDim, Tile>*>(memory);
  const int each = t.shape.heads / t.shape.kv_heads, chunks = (each + kHeads - 1) / kHeads;
  const int kv_head = blockIdx.y / chunks, inside = blockIdx.y % chunks * kHeads;
  const int first_head = kv_head * each + inside, heads = min(kHeads, each - inside);
  const std::int64_t row = blockIdx.z;
  const auto seen = t.keys_of(row, static_cast<int>(blockIdx.x));
  if (seen.count <= 0) return;
  for (int i = threadIdx.x; i < kHeads * kDim / 8; i += kThreads) {
    const int h = i / (kDim / 8), piece = i % (kDim / 8);
    const auto* from = static_cast<const __nv_bfloat16*>(row_of(t.q, row)) + (first_head + min(h, heads - 1)) * kDim + piece * 8;
    ptx::copy_16(memory + value_at(h, piece, kDim), from, h < heads ? 16 : 0);
  }
  ptx::commit_copies();
  Warp<kDim, Tile> warp(t, shared, kv_head, seen, row);
#pragma unroll
  for (int tile = 0; tile < kStages - 1; ++tile) warp.load(tile);
  ptx::wait_copies<kStages - 1>();
  __syncthreads();
  warp.load_queries();
  warp.run();
  __syncthreads();
  warp.put();
  __syncthreads();
  finish(t, shared, row, first_head, heads, static_cast<int>(blockIdx.x));
}

template <int kDim, class Tile>
void run(const ops::AttentionDecode::Args& a, const DecodeTask& task, Stream& s) {
  const unsigned each = blocks_for(a.shape.heads / a.shape.kv_heads, kHeads);
  const dim3 grid(static_cast<unsigned>(task.splits), a.shape.kv_heads * each, static_cast<unsigned>(a.rows.size()));
  launch(s, "attention_decode", gqa_kernel<kDim, Tile>, grid, kThreads, sizeof(Shared<kDim, Tile>), task);
}

template <int kDim>
void run(const ops::AttentionDecode::Args& a, const DecodeTask& task, Stream& s) {
  if (a.k.dtype == DType::kBF16) run<kDim, PlainTile<kDim>>(a, task, s);
  else run<kDim, Fp8Tile<kDim>>(a, task, s);
}

}  // namespace

std::string decode_gqa_support(const ops::AttentionDecode::Problem& p, const Capabilities& caps) {
  if (!caps.has("sm_90a")) return "needs 101 KB of shared memory a block, measured on compute capability 9.0";
  if (p.q != DType::kBF16 || p.cache == DType::kF32) return "multiplies bfloat16";
  return p.shape.qk_dim == p.shape.v_dim && (p.shape.v_dim == 64 || p.shape.v_dim == 128) ? "" : "needs heads of 64 or 128 elements";
}

void decode_gqa(const ops::AttentionDecode::Args& a, braid::Stream& s) {
  DecodeTask task = decode_task(a, kSplitKeys);
  task.whole_rows_done = true;
  if (a.shape.v_dim == 64) run<64>(a, task, stream(s));
  else run<128>(a, task, stream(s));
  merge_splits(task, static_cast<unsigned>(a.rows.size()), stream(s));
}

}  // namespace braid::cuda
