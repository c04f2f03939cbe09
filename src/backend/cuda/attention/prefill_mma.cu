// SPDX-License-Identifier: Apache-2.0
// attention_prefill on BF16 tensor cores.
//
// A block takes 64 queries of one head and walks over their keys, 64 at a time from multiples of 64,
// keeping a running softmax. Shared memory: two stages of keys [64][qk] and values [64][v] (tiles.cuh).
// Warps: four, of 16 queries each; queries, scores and output stay in registers, and the weights go from
// scores to the second product without leaving them. All threads start the next stage's copies before
// they work on this one. Bound: mma.sync rate.
#include "backend/cuda/attention/attention.h"
#include "backend/cuda/attention/expand_rows.h"
#include "backend/cuda/attention/tiles.cuh"

namespace braid::cuda {
namespace {

constexpr int kQueries = 64;
constexpr int kThreads = 128;
constexpr float kLog2e = 1.4426950408889634f;

template <int kQk, int kV>
struct Block {
  const PrefillTask& t;
  char* shared;
  ops::AttentionPrefill::Sequence s;
  int head, kv_head;
  std::int64_t row;        // of q, of this lane's first row; the second is row + 8
  std::int64_t position;   // of the same
  std::int64_t begin[2];   // first keys that the two see
  bool valid[2];
  uint4 q[kQk / 32][2];
  float o[kV / 8][4];
  float top[2], sum[2];

  __device__ int stage_bytes() const { return tile_bytes(t.shape.qk_dim) + tile_bytes(t.shape.v_dim); }

  __device__ Block(const PrefillTask& task, char* memory, const QueryTile& tile)
      : t(task), shared(memory), s(task.sequences[tile.sequence]), head(blockIdx.y),
        kv_head(head / (task.shape.heads / task.shape.kv_heads)) {
    const std::int64_t mine = tile.first + threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4;
    row = s.first_row + mine;
    position = s.position + mine;
    const int part = threadIdx.x % 4 * 8;
    for (int half = 0; half < 2; ++half) {
      valid[half] = mine + 8 * half < s.rows;
      begin[half] = first_key(t.shape, position + 8 * half);
      top[half] = t.sinks ? t.sinks[head] * kLog2e : -INFINITY;
      sum[half] = t.sinks ? 1.0f : 0.0f;
      const auto* from = static_cast<const __nv_bfloat16*>(row_of(t.q, row + 8 * half)) + head * t.shape.qk_dim;
#pragma unroll
      for (int j = 0; j < kQk / 32; ++j) {
        const bool inside = valid[half] && j * 32 + part < t.shape.qk_dim;
        q[j][half] = inside ? *reinterpret_cast<const uint4*>(from + j * 32 + part) : make_uint4(0, 0, 0, 0);
      }
    }
#pragma unroll
    for (int n = 0; n < kV / 8; ++n) o[n][0] = o[n][1] = o[n][2] = o[n][3] = 0;
  }

  __device__ void load(int stage, std::int64_t first, int count) const {
    char* keys = shared + stage * stage_bytes();
    const auto at = [&](const ops::Rows& rows) {
      return [&, this](int r) { return head_row(rows, key_row(s, t.block_size, first + r), kv_head); };
    };
    load_tile<false>(keys, t.shape.qk_dim, count, at(t.k));
    load_tile<true>(keys + tile_bytes(t.shape.qk_dim), t.shape.v_dim, count, at(t.v));
  }

  __device__ void score(const char* keys, float (&scores)[8][4]) const {
    const int lane = threadIdx.x % 32, width = tile_width(t.shape.qk_dim);
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      scores[n][0] = scores[n][1] = scores[n][2] = scores[n][3] = 0;
#pragma unroll
      for (int j = 0; j < kQk / 32; ++j) {
        if (j * 32 >= width) break;
        const uint4 b = *reinterpret_cast<const uint4*>(keys + key_at(n * 8 + lane / 4, j * 4 + lane % 4, width));
        ptx::mma_bf16(scores[n], q[j][0].x, q[j][1].x, q[j][0].y, q[j][1].y, b.x, b.y);
        ptx::mma_bf16(scores[n], q[j][0].z, q[j][1].z, q[j][0].w, q[j][1].w, b.z, b.w);
      }
    }
  }

  // Scores become weights; the output shrinks to the new maximum.
  __device__ void weigh(float (&scores)[8][4], std::int64_t first, std::int64_t end) {
    const float factor = t.shape.scale * kLog2e;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::int64_t seen = min(end, position + 8 * half + 1) - first, unseen = begin[half] - first;
      float most = top[half];
#pragma unroll
      for (int n = 0; n < 8; ++n) {
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          float& x = scores[n][2 * half + c];
          const int key = n * 8 + static_cast<int>(threadIdx.x % 4) * 2 + c;
          x = key < seen && key >= unseen ? x * factor : -INFINITY;
          most = fmaxf(most, x);
        }
      }
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
      const float base = most == -INFINITY ? 0.0f : most, keep = exp2f(top[half] - base);
      float total = 0;
#pragma unroll
      for (int n = 0; n < 8; ++n) {
#pragma unroll
        for (int c = 0; c < 2; ++c) total += scores[n][2 * half + c] = exp2f(scores[n][2 * half + c] - base);
      }
      total += __shfl_xor_sync(~0u, total, 1);
      total += __shfl_xor_sync(~0u, total, 2);
      sum[half] = sum[half] * keep + total;
      top[half] = most;
#pragma unroll
      for (int n = 0; n < kV / 8; ++n) o[n][2 * half] *= keep, o[n][2 * half + 1] *= keep;
    }
  }

  __device__ void visit(int stage, std::int64_t first, std::int64_t end) {
    const char* keys = shared + stage * stage_bytes();
    float scores[8][4];
    score(keys, scores);
    weigh(scores, first, end);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const std::uint32_t p[4] = {pack_bf16(scores[2 * k][0], scores[2 * k][1]), pack_bf16(scores[2 * k][2], scores[2 * k][3]),
                                  pack_bf16(scores[2 * k + 1][0], scores[2 * k + 1][1]), pack_bf16(scores[2 * k + 1][2], scores[2 * k + 1][3])};
      add_values<kV>(o, p, keys + tile_bytes(t.shape.qk_dim), k * 16, 0, tile_width(t.shape.v_dim), tile_width(t.shape.v_dim));
    }
  }

  // Calls visit(half, column, value pair) for what exists.
  template <class Visit>
  __device__ void each_pair(const Visit& visit) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int n = 0; n < kV / 8; ++n) {
        const int column = n * 8 + threadIdx.x % 4 * 2;
        if (valid[half] && column < t.shape.v_dim) visit(half, column, o[n][2 * half], o[n][2 * half + 1]);
      }
    }
  }
  __device__ float* state(int half) const {
    return t.state + ((row + 8 * half) * t.shape.heads + head) * (t.shape.v_dim + 2);
  }
  __device__ void resume() {
    each_pair([&](int half, int column, float& a, float& b) { a = state(half)[column], b = state(half)[column + 1]; });
    for (int half = 0; half < 2; ++half) {
      if (valid[half]) top[half] = state(half)[t.shape.v_dim], sum[half] = state(half)[t.shape.v_dim + 1];
    }
  }
  __device__ void suspend() {
    each_pair([&](int half, int column, float& a, float& b) { state(half)[column] = a, state(half)[column + 1] = b; });
    for (int half = 0; half < 2; ++half) {
      if (valid[half]) state(half)[t.shape.v_dim] = top[half], state(half)[t.shape.v_dim + 1] = sum[half];
    }
  }
  __device__ void finish() {
    each_pair([&](int half, int column, float& a, float& b) {
      auto* to = static_cast<__nv_bfloat16*>(row_of(t.out, row + 8 * half)) + head * t.shape.v_dim + column;
      to[0] = __float2bfloat16_rn(a / sum[half]);
      to[1] = __float2bfloat16_rn(b / sum[half]);
    });
  }
};

template <int kQk, int kV>
__global__ void __launch_bounds__(kThreads) prefill_kernel(const __grid_constant__ PrefillTask t) {
  extern __shared__ __align__(128) char shared[];
  const QueryTile tile = find_query_tile(t.sequences, t.count, kQueries, static_cast<int>(blockIdx.x));
  if (tile.sequence < 0) return;
  Block<kQk, kV> block(t, shared, tile);
  const auto& s = block.s;
  if (!t.first_segment) block.resume();
  const std::int64_t last = min(s.key_end, s.position + min(tile.first + kQueries, s.rows));
  const auto next_of = [&](std::int64_t first) { return min(first / kTileKeys * kTileKeys + kTileKeys, last); };
  const std::int64_t begin = t.begin(s, s.position + tile.first, kTileKeys);
  if (begin < last) block.load(0, begin, static_cast<int>(next_of(begin) - begin));
  ptx::commit_copies();
  int stage = 0;
  for (std::int64_t first = begin; first < last; stage ^= 1) {
    const std::int64_t next = next_of(first);
    if (next < last) block.load(stage ^ 1, next, static_cast<int>(next_of(next) - next));
    ptx::commit_copies();
    ptx::wait_copies<1>();
    __syncthreads();
    block.visit(stage, first, next);
    __syncthreads();
    first = next;
  }
  if (t.last_segment) block.finish();
  else block.suspend();
}

template <int kQk, int kV>
void run(const ops::AttentionPrefill::Args& a, const PrefillTask& task, Stream& s) {
  const std::size_t shared = 2 * static_cast<std::size_t>(tile_bytes(a.shape.qk_dim) + tile_bytes(a.shape.v_dim));
  launch(s, "attention_prefill", prefill_kernel<kQk, kV>, dim3(query_tiles(a, kQueries), static_cast<unsigned>(a.shape.heads)),
         kThreads, shared, task);
}

}  // namespace

std::string prefill_mma_support(const ops::AttentionPrefill::Problem& p, const Capabilities&) {
  if (p.q != DType::kBF16 || p.cache == DType::kF32) return "multiplies bfloat16";
  if (p.shape.qk_dim % 8 != 0 || p.shape.v_dim % 8 != 0) return "needs heads of a multiple of 8 elements";
  return p.shape.qk_dim > 256 || p.shape.v_dim > 256 ? "heads wider than 256" : "";
}

void prefill_mma(const ops::AttentionPrefill::Args& a, braid::Stream& s) {
  if (a.k.dtype == DType::kF8E4M3) return prefill_mma(ExpandedRows(a, stream(s)).args(), s);
  const PrefillTask task = prefill_task(a);
  if (a.shape.qk_dim <= 128 && a.shape.v_dim <= 128) run<128, 128>(a, task, stream(s));
  else if (a.shape.qk_dim <= 192 && a.shape.v_dim <= 128) run<192, 128>(a, task, stream(s));
  else run<256, 256>(a, task, stream(s));
}

}  // namespace braid::cuda
