// SPDX-License-Identifier: Apache-2.0
// attention_decode on BF16 tensor cores; splits and their merge: splits.cuh.
//
// A block takes one query row, up to 16 heads that share a kv head, and a split of 256 keys, which it
// walks over 64 at a time with a running softmax. Shared memory: queries [16][qk], two stages of keys
// [64][qk] and values [64][v] (latent attention: the values are the keys), scores [16][64], weights
// [16][64]. Warps: four; each scores 16 of the 64 keys, then weighs four of the 16 heads, then
// multiplies the weights by a quarter of the values' columns, whose sums it keeps in registers. Bound:
// the bytes of the cache for up to 16 heads a kv head.
#include "backend/cuda/attention/attention.h"
#include "backend/cuda/attention/splits.cuh"
#include "backend/cuda/attention/tiles.cuh"

namespace braid::cuda {
namespace {

constexpr int kHeads = 16;
constexpr int kThreads = 128;
constexpr int kScoreStride = kTileKeys + 4;
constexpr int kWeightStride = kTileKeys + 8;  // elements; a row's start moves by four banks

struct Layout {  // of the shared memory, in bytes
  int queries, stage, values, scores, weights, softmax, total;
  bool latent;

  __host__ __device__ explicit Layout(const DecodeTask& t) {
    latent = t.k.base == t.v.base;
    queries = 0;
    const int first = kHeads * tile_width(t.shape.qk_dim) * 2;
    values = latent ? 0 : tile_bytes(t.shape.qk_dim);
    stage = tile_bytes(t.shape.qk_dim) + (latent ? 0 : tile_bytes(t.shape.v_dim));
    scores = first + 2 * stage;
    weights = scores + kHeads * kScoreStride * 4;
    softmax = weights + kHeads * kWeightStride * 2;
    total = softmax + 3 * kHeads * 4;
  }
  __device__ int stage_at(int stage_number, const DecodeTask& t) const {
    return kHeads * tile_width(t.shape.qk_dim) * 2 + stage_number * stage;
  }
};

// This warp's 16 keys against all heads.
__device__ inline void score(const char* queries, const char* keys, int width, float* scores) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float c[2][4] = {};
  for (int k = 0; k < width / 16; ++k) {
    std::uint32_t a[4], b[4];
    ptx::load_matrices(a, queries + value_at(lane % 16, k * 2 + lane / 16, width));
    ptx::load_matrices(b, keys + value_at(warp * 16 + lane / 16 * 8 + lane % 8, k * 2 + lane / 8 % 2, width));
    ptx::mma_bf16(c[0], a[0], a[1], a[2], a[3], b[0], b[1]);
    ptx::mma_bf16(c[1], a[0], a[1], a[2], a[3], b[2], b[3]);
  }
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[(lane / 4 + i / 2 * 8) * kScoreStride + warp * 16 + n * 8 + lane % 4 * 2 + i % 2] = c[n][i];
  }
}

// softmax: [maximum | sum | what the output shrinks by], one of each a head. Eight lanes a head.
__device__ inline void weigh(const float* scores, __nv_bfloat16* weights, float* softmax, int count, float scale) {
  const int head = threadIdx.x / 8, part = threadIdx.x % 8;
  float x[8], top = softmax[head];
  const float before = top;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    x[i] = part + 8 * i < count ? scores[head * kScoreStride + part + 8 * i] * scale : -INFINITY;
    top = fmaxf(top, x[i]);
  }
  for (int d = 1; d < 8; d *= 2) top = fmaxf(top, __shfl_xor_sync(~0u, top, d));
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float w = expf(x[i] - top);
    sum += w;
    weights[head * kWeightStride + part + 8 * i] = __float2bfloat16_rn(w);
  }
  for (int d = 1; d < 8; d *= 2) sum += __shfl_xor_sync(~0u, sum, d);
  __syncwarp();
  if (part != 0) return;
  const float keep = expf(before - top);
  softmax[head] = top;
  softmax[kHeads + head] = softmax[kHeads + head] * keep + sum;
  softmax[2 * kHeads + head] = keep;
}

template <int kColumns>
__global__ void __launch_bounds__(kThreads) split_kernel(const __grid_constant__ DecodeTask t) {
  extern __shared__ __align__(128) char shared[];
  const Layout at(t);
  const int each = t.shape.heads / t.shape.kv_heads, chunks = (each + kHeads - 1) / kHeads;
  const int kv_head = blockIdx.y / chunks, inside = blockIdx.y % chunks * kHeads;
  const int first_head = kv_head * each + inside, heads = min(kHeads, each - inside);
  const int split = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  const std::int64_t row = blockIdx.z;
  const auto seen = t.keys_of(row, split);
  const int first_position = seen.begin, keys = seen.count;
  if (keys <= 0) return;
  const int qk = t.shape.qk_dim, width = tile_width(qk), v_width = at.latent ? width : tile_width(t.shape.v_dim);
  auto* scores = reinterpret_cast<float*>(shared + at.scores);
  auto* weights = reinterpret_cast<__nv_bfloat16*>(shared + at.weights);
  auto* softmax = reinterpret_cast<float*>(shared + at.softmax);
  const auto load = [&](int stage, int first) {
    const auto from = [&](const ops::Rows& rows) {
      return [&, first](int r) { return head_row(rows, paged_row(t.rows[row].table, t.block_size, first_position + first + r), kv_head); };
    };
    char* tile = shared + at.stage_at(stage, t);
    load_tile<true>(tile, qk, min(keys - first, kTileKeys), from(t.k));
    if (!at.latent) load_tile<true>(tile + at.values, t.shape.v_dim, min(keys - first, kTileKeys), from(t.v));
  };
  for (int i = threadIdx.x; i < kHeads * width / 8; i += kThreads) {
    const int h = i / (width / 8), piece = i % (width / 8);
    const bool exists = h < heads && piece * 8 < qk;
    const auto* from = static_cast<const __nv_bfloat16*>(row_of(t.q, row)) + (first_head + h) * qk + piece * 8;
    ptx::copy_16(shared + value_at(h, piece, width), exists ? static_cast<const void*>(from) : t.q.data, exists ? 16 : 0);
  }
  if (threadIdx.x < kHeads) softmax[threadIdx.x] = -INFINITY, softmax[kHeads + threadIdx.x] = 0;
  load(0, 0);
  ptx::commit_copies();
  const int columns = tile_width(t.shape.v_dim) / 4;
  const int column = warp * columns;
  float o[kColumns / 8][4] = {};
  for (int first = 0, stage = 0; first < keys; first += kTileKeys, stage ^= 1) {
    if (first + kTileKeys < keys) load(stage ^ 1, first + kTileKeys);
    ptx::commit_copies();
    ptx::wait_copies<1>();
    __syncthreads();
    const char* tile = shared + at.stage_at(stage, t);
    score(shared, tile, width, scores);
    __syncthreads();
    weigh(scores, weights, softmax, min(keys - first, kTileKeys), t.shape.scale);
    __syncthreads();
    const float keep0 = softmax[2 * kHeads + g], keep1 = softmax[2 * kHeads + g + 8];
#pragma unroll
    for (int n = 0; n < kColumns / 8; ++n) o[n][0] *= keep0, o[n][1] *= keep0, o[n][2] *= keep1, o[n][3] *= keep1;
#pragma unroll
    for (int k = 0; k < kTileKeys / 16; ++k) {
      const auto weight = [&](int r, int c) { return *reinterpret_cast<const std::uint32_t*>(weights + r * kWeightStride + k * 16 + c); };
      const std::uint32_t p[4] = {weight(g, 2 * q), weight(g + 8, 2 * q), weight(g, 2 * q + 8), weight(g + 8, 2 * q + 8)};
      add_values<kColumns>(o, p, tile + at.values, k * 16, column, column + columns, v_width);
    }
    __syncthreads();
  }
#pragma unroll
  for (int n = 0; n < kColumns / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int h = g + i / 2 * 8, c = column + n * 8 + q * 2 + i % 2;
      if (h < heads && n * 8 < columns && c < t.shape.v_dim) t.part(row, first_head + h, split)[c] = o[n][i];
    }
  }
  if (threadIdx.x < heads) {
    float* part = t.part(row, first_head + static_cast<int>(threadIdx.x), split) + t.shape.v_dim;
    part[0] = softmax[threadIdx.x];
    part[1] = softmax[kHeads + threadIdx.x];
  }
}

}  // namespace

std::string decode_mma_support(const ops::AttentionDecode::Problem& p, const Capabilities&) {
  if (p.q != DType::kBF16 || p.cache != DType::kBF16) return "multiplies bfloat16";
  if (p.shape.qk_dim % 8 != 0 || p.shape.v_dim % 8 != 0) return "needs heads of a multiple of 8 elements";
  return p.shape.v_dim > 512 || p.shape.qk_dim > 576 ? "keys wider than 576 or values wider than 512" : "";
}

void decode_mma(const ops::AttentionDecode::Args& a, braid::Stream& s) {
  const DecodeTask task = decode_task(a);
  const unsigned each = blocks_for(a.shape.heads / a.shape.kv_heads, kHeads);
  const dim3 grid(static_cast<unsigned>(task.splits), a.shape.kv_heads * each, static_cast<unsigned>(a.rows.size()));
  const auto kernel = tile_width(a.shape.v_dim) <= 128 ? split_kernel<32> : split_kernel<128>;
  launch(stream(s), "attention_decode", kernel, grid, kThreads, static_cast<std::size_t>(Layout(task).total), task);
  merge_splits(task, static_cast<unsigned>(a.rows.size()), stream(s));
}

}  // namespace braid::cuda
