// SPDX-License-Identifier: Apache-2.0
// attention_prefill on Hopper's tensor cores.
//
// A block takes 128 queries of one head and walks over their keys, 128 at a time from multiples of 128,
// keeping a running softmax. Shared memory, rows of 128 swizzled bytes: queries [warpgroup][panel][64],
// two stages of keys [panel][128] and values [panel][128], a panel being 64 elements. Warps: two
// warpgroups of 64 queries; scores, weights and output stay in registers, and one multiplies while the
// other weighs. All threads start the next stage's copies before they work on this one. Blocks with
// the most keys come first. Bound: wgmma rate, and the exponentials beside it.
#include "backend/cuda/attention/attention.h"
#include "backend/cuda/attention/expand_rows.h"
#include "backend/cuda/attention/rows.cuh"
#include "backend/cuda/ptx/async_copy.cuh"
#include "backend/cuda/ptx/barrier.cuh"
#include "backend/cuda/ptx/warp.cuh"
#include "backend/cuda/ptx/wgmma.cuh"

namespace braid::cuda {
namespace {

constexpr int kQueries = 128;
constexpr int kKeys = 128;
constexpr int kThreads = 256;
constexpr int kGroupQueries = 64;
constexpr int kRowBytes = 128;  // of a panel
constexpr int kV = 128;
constexpr int kValueBytes = kV / 64 * kKeys * kRowBytes;
constexpr float kLog2e = 1.4426950408889634f;

template <int kQk>
struct Map {
  static constexpr int kPanels = kQk / 64;
  static constexpr int kQueryBytes = kPanels * kQueries * kRowBytes;
  static constexpr int kKeyBytes = kPanels * kKeys * kRowBytes;
  static constexpr int kStageBytes = kKeyBytes + kValueBytes;
  static constexpr int kBytes = kQueryBytes + 2 * kStageBytes;
};

// Starts the copies of `count` rows of kRows into panels from `to` on, zeros behind them and behind dim.
template <int kRows, int kPanels, class RowAt>
__device__ inline void load_rows(char* to, int dim, int count, const void* any, const RowAt& row_at) {
  constexpr int kEach = kThreads / kRows;  // threads of a row
  const int row = threadIdx.x / kEach;
  const char* from = row < count ? static_cast<const char*>(row_at(row)) : nullptr;
#pragma unroll
  for (int i = 0; i < kPanels * 8 / kEach; ++i) {
    const int piece = threadIdx.x % kEach + i * kEach;
    const bool inside = from && piece * 8 < dim;
    char* at = to + (piece / 8 * kRows + row) * kRowBytes + (piece % 8 ^ row % 8) * 16;
    ptx::copy_16(at, inside ? static_cast<const void*>(from + piece * 16) : any, inside ? 16 : 0);
  }
}

template <int kQk>
struct Block {
  const PrefillTask& t;
  char* shared;
  ops::AttentionPrefill::Sequence s;
  int head, kv_head, group;
  std::int64_t first_row;  // of q, of this warpgroup
  std::int64_t row;        // of q, of this lane's first row; the second is row + 8
  std::int64_t position;   // of the same
  std::int64_t left;       // queries of the sequence from `row` on
  std::int64_t begin[2];   // first keys that the two rows see
  float o[kV / 2] = {};
  float top[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};  // sums of this lane's keys alone

  __device__ Block(const PrefillTask& task, char* memory, const QueryTile& tile, int h)
      : t(task), shared(memory), s(task.sequences[tile.sequence]), head(h),
        kv_head(h / (task.shape.heads / task.shape.kv_heads)), group(threadIdx.x / 128) {
    const std::int64_t mine = tile.first + threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4;
    first_row = s.first_row + tile.first + group * kGroupQueries;
    row = s.first_row + mine;
    position = s.position + mine;
    left = s.rows - mine;
    for (int half = 0; half < 2; ++half) {
      begin[half] = first_key(t.shape, position + 8 * half);
      if (!t.sinks) continue;
      top[half] = t.sinks[head] * kLog2e;
      sum[half] = threadIdx.x % 4 == 0 ? 1.0f : 0.0f;
    }
    for (int g = 0; g < 2; ++g) {  // loaded by all threads
      const std::int64_t first = tile.first + g * kGroupQueries;
      const auto at = [&](int r) -> const void* {
        return static_cast<const __nv_bfloat16*>(row_of(t.q, s.first_row + first + r)) + head * t.shape.qk_dim;
      };
      load_rows<kGroupQueries, Map<kQk>::kPanels>(shared + g * Map<kQk>::kQueryBytes / 2, t.shape.qk_dim,
                                                  static_cast<int>(min(s.rows - first, std::int64_t{kGroupQueries})), t.q.data, at);
    }
  }

  __device__ bool valid(int half) const { return 8 * half < left; }
  __device__ char* stage_at(int stage) const { return shared + Map<kQk>::kQueryBytes + stage * Map<kQk>::kStageBytes; }

  __device__ void load(int stage, std::int64_t first, int count) const {
    const auto at = [&](const ops::Rows& rows) {
      return [&, this](int r) { return head_row(rows, key_row(s, t.block_size, first + r), kv_head); };
    };
    load_rows<kKeys, Map<kQk>::kPanels>(stage_at(stage), t.shape.qk_dim, count, t.k.base, at(t.k));
    load_rows<kKeys, kV / 64>(stage_at(stage) + Map<kQk>::kKeyBytes, t.shape.v_dim, count, t.v.base, at(t.v));
  }

  __device__ void score(int stage, float (&scores)[kKeys / 2]) const {
    const std::uint32_t queries = ptx::shared_address(shared) + group * (Map<kQk>::kQueryBytes / 2);
    const std::uint32_t keys = ptx::shared_address(stage_at(stage));
    ptx::wgmma_fence();
#pragma unroll
    for (int k = 0; k < kQk / 16; ++k) {
      const std::uint64_t a = ptx::swizzled_operand(queries + k / 4 * kGroupQueries * kRowBytes) + k % 4 * 2;
      const std::uint64_t b = ptx::swizzled_operand(keys + k / 4 * kKeys * kRowBytes) + k % 4 * 2;
      ptx::Wgmma<kKeys>::bf16(scores, a, b, k != 0);
    }
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>();
#pragma unroll
    for (float& x : scores) ptx::wgmma_pin(x);
  }

  // Scores become weights; the output shrinks to the new maximum.
  __device__ void weigh(float (&scores)[kKeys / 2], std::int64_t first, std::int64_t end) {
    const float factor = t.shape.scale * kLog2e;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::int64_t seen = min(end, position + 8 * half + 1) - first;
      float most = top[half];
      if (seen < kKeys) {
        const int before = static_cast<int>(seen) - static_cast<int>(threadIdx.x % 4 * 2);
#pragma unroll
        for (int i = 0; i < kKeys / 4; ++i) {
          if (i / 2 * 8 + i % 2 >= before) scores[i / 2 * 4 + 2 * half + i % 2] = -INFINITY;
        }
      }
      if (begin[half] > first) {
        const std::int64_t unseen = begin[half] - first - static_cast<std::int64_t>(threadIdx.x % 4 * 2);
#pragma unroll
        for (int i = 0; i < kKeys / 4; ++i) {
          if (i / 2 * 8 + i % 2 < unseen) scores[i / 2 * 4 + 2 * half + i % 2] = -INFINITY;
        }
      }
#pragma unroll
      for (int i = 0; i < kKeys / 4; ++i) most = fmaxf(most, scores[i / 2 * 4 + 2 * half + i % 2] * factor);
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
      const float base = most == -INFINITY ? 0.0f : most, keep = ptx::exp2(top[half] - base);
      float total = 0;
#pragma unroll
      for (int i = 0; i < kKeys / 4; ++i) {
        float& x = scores[i / 2 * 4 + 2 * half + i % 2];
        total += x = ptx::exp2(x * factor - base);
      }
      sum[half] = sum[half] * keep + total;
      top[half] = most;
#pragma unroll
      for (int n = 0; n < kV / 8; ++n) o[4 * n + 2 * half] *= keep, o[4 * n + 2 * half + 1] *= keep;
    }
  }

  __device__ void add_values(int stage, const float (&weights)[kKeys / 2]) {
    const std::uint32_t values = ptx::shared_address(stage_at(stage)) + Map<kQk>::kKeyBytes;
    std::uint32_t p[kKeys / 16][4];
#pragma unroll
    for (int i = 0; i < kKeys / 4; ++i) p[i / 4][i % 4] = pack_bf16(weights[2 * i], weights[2 * i + 1]);
#pragma unroll
    for (float& x : o) ptx::wgmma_pin(x);
    ptx::wgmma_fence();
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      ptx::Wgmma<kV>::bf16_turned(o, p[k], ptx::turned_operand(values + k * 16 * kRowBytes, kKeys * kRowBytes));
    }
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>();
#pragma unroll
    for (float& x : o) ptx::wgmma_pin(x);
  }

  __device__ void visit(int stage, std::int64_t first, std::int64_t end) {
    float scores[kKeys / 2];
    score(stage, scores);
    weigh(scores, first, end);
    add_values(stage, scores);
  }

  // Calls visit(half, column, value pair) for what exists.
  template <class Visit>
  __device__ void each_pair(const Visit& visit) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int n = 0; n < kV / 8; ++n) {
        const int column = n * 8 + threadIdx.x % 4 * 2;
        if (valid(half) && column < t.shape.v_dim) visit(half, column, o[4 * n + 2 * half], o[4 * n + 2 * half + 1]);
      }
    }
  }
  __device__ void total_sums() {
    for (float& x : sum) {
      x += __shfl_xor_sync(~0u, x, 1);
      x += __shfl_xor_sync(~0u, x, 2);
    }
  }
  __device__ float* state(int half) const {
    return t.state + ((row + 8 * half) * t.shape.heads + head) * (t.shape.v_dim + 2);
  }
  __device__ void resume() {
    each_pair([&](int half, int column, float& a, float& b) { a = state(half)[column], b = state(half)[column + 1]; });
    for (int half = 0; half < 2; ++half) {
      if (!valid(half)) continue;
      top[half] = state(half)[t.shape.v_dim];
      sum[half] = threadIdx.x % 4 == 0 ? state(half)[t.shape.v_dim + 1] : 0.0f;
    }
  }
  __device__ void suspend() {
    total_sums();
    each_pair([&](int half, int column, float& a, float& b) { state(half)[column] = a, state(half)[column + 1] = b; });
    for (int half = 0; half < 2; ++half) {
      if (valid(half)) state(half)[t.shape.v_dim] = top[half], state(half)[t.shape.v_dim + 1] = sum[half];
    }
  }
  __device__ void finish() {
    total_sums();
    each_pair([&](int half, int column, float& a, float& b) {
      auto* to = static_cast<__nv_bfloat16*>(row_of(t.out, row + 8 * half)) + head * t.shape.v_dim + column;
      *reinterpret_cast<std::uint32_t*>(to) = pack_bf16(a / sum[half], b / sum[half]);
    });
  }
};

template <int kQk>
__global__ void __launch_bounds__(kThreads, 1) prefill_kernel(const __grid_constant__ PrefillTask t) {
  extern __shared__ __align__(1024) char shared[];
  const QueryTile tile = find_query_tile(t.sequences, t.count, kQueries, static_cast<int>(gridDim.y - 1 - blockIdx.y));
  if (tile.sequence < 0) return;
  Block<kQk> block(t, shared, tile, blockIdx.x);
  const auto& s = block.s;
  if (!t.first_segment) block.resume();
  const std::int64_t last = min(s.key_end, s.position + min(tile.first + kQueries, s.rows));
  const auto next_of = [&](std::int64_t first) { return min(first / kKeys * kKeys + kKeys, last); };
  const std::int64_t begin = t.begin(s, s.position + tile.first, kKeys);
  if (begin < last) block.load(0, begin, static_cast<int>(next_of(begin) - begin));
  ptx::commit_copies();
  int stage = 0;
  for (std::int64_t first = begin; first < last; stage ^= 1) {
    const std::int64_t next = next_of(first);
    if (next < last) block.load(stage ^ 1, next, static_cast<int>(next_of(next) - next));
    ptx::commit_copies();
    ptx::wait_copies<1>();
    ptx::fence_async_shared();
    __syncthreads();
    block.visit(stage, first, next);
    __syncthreads();
    first = next;
  }
  if (t.last_segment) block.finish();
  else block.suspend();
}

template <int kQk>
void run(const ops::AttentionPrefill::Args& a, const PrefillTask& task, Stream& s) {
  launch(s, "attention_prefill", prefill_kernel<kQk>, dim3(static_cast<unsigned>(a.shape.heads), query_tiles(a, kQueries)), kThreads,
         Map<kQk>::kBytes, task);
}

}  // namespace

void prefill_hopper(const ops::AttentionPrefill::Args& a, braid::Stream& s) {
  if (a.k.dtype == DType::kF8E4M3) return prefill_hopper(ExpandedRows(a, stream(s)).args(), s);
  const PrefillTask task = prefill_task(a);
  if (a.shape.qk_dim <= 128) run<128>(a, task, stream(s));
  else run<192>(a, task, stream(s));
}

}  // namespace braid::cuda
