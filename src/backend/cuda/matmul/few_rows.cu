// SPDX-License-Identifier: Apache-2.0
// A GEMM of at most eight rows a tile: out[m, n] = a[m, k] * w[n, k]^T, the weights being what tensor cores take
// as their 64 rows, and the rows of a their 8 columns.
//
// Idea: every block streams the weights of 64 outputs once, all blocks at the same time; while the first arrive it
// gathers its rows, activates and rounds them, all of k, into shared memory. e4m3 products of 128 inputs are added
// in float32 in the order of k, as gemm/multiply.cuh does: a cluster of blocks may share k, the others handing their
// products to the first unscaled, and the sums are the same bit for bit. bfloat16 is summed in one chain.
// Memory map: matmul/choose.h; weights [stages][64][128 bytes], rows [k blocks][8][128 bytes], both swizzled; products of the
// other blocks [k blocks of theirs][128 threads][4]; scales; barriers. Warps: eight prepare rows, of which the first four multiply
// and store; one feeds. Bound: the weights' bytes; then latency: tile, first rows, first weights, last product.
#include <algorithm>

#include "backend/cuda/gemm/packed.h"
#include "backend/cuda/matmul/choose.h"
#include "backend/cuda/matmul/feed_rows.h"
#include "backend/cuda/matmul/feed_values.cuh"
#include "backend/cuda/matmul/few_rows.h"
#include "backend/cuda/matmul/groups.cuh"
#include "backend/cuda/ptx/barrier.cuh"
#include "backend/cuda/ptx/cache_policy.h"
#include "backend/cuda/ptx/copy.cuh"
#include "backend/cuda/ptx/warp.cuh"
#include "backend/cuda/ptx/wgmma.cuh"

namespace braid::cuda {
namespace {

using Map = FewRowsMap;
constexpr int kTokens = Map::kTokens, kOutputs = 64, kStages = Map::kStages, kSteps = 4;
constexpr int kMath = 128, kFeeders = 256, kThreads = kFeeders + 32;
constexpr int kStageBytes = Map::kStageBytes;
static_assert(kStageBytes == kOutputs * kTileRowBytes && Map::kPartBytes == kMath * 4 * static_cast<int>(sizeof(float)));
constexpr int kAhead = 4;  // pieces of rows that a thread has under way

struct Group {
  const std::uint8_t* weights;
  const float* scales;
  std::int32_t n, k;
};

// Of at most kGroups: few parameters are fetched faster.
template <int kGroups>
struct Arguments {
  const __nv_bfloat16* x;
  std::int64_t stride;
  const std::int32_t* row_token;
  const std::int32_t* offsets;
  void* out;
  std::int64_t out_stride;
  ops::Glu glu;
  int rows, groups, split;
  int k_blocks;  // the most of a group
  bool out_float, accumulate;
  Group group[kGroups];
};

// Tile `number` when each group is cut into tiles of kTokens rows. Asked by whole warps; 128 groups at once.
__device__ inline GroupTile find_rows(const std::int32_t* offsets, int groups, int number) {
  constexpr int kEach = 4;
  const int lane = threadIdx.x % 32;
  int behind = 0;
  for (int from = 0; from < groups; from += 32 * kEach) {
    const int mine = from + lane * kEach;
    int at[kEach + 1], tiles = 0;
#pragma unroll
    for (int i = 0; i <= kEach; ++i) at[i] = offsets[min(mine + i, groups)];
#pragma unroll
    for (int i = 0; i < kEach; ++i) tiles += (at[i + 1] - at[i] + kTokens - 1) / kTokens;
    int end = tiles;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const int before = __shfl_up_sync(~0u, end, step);
      end += lane >= step ? before : 0;
    }
    const unsigned owners = __ballot_sync(~0u, behind + end > number);
    if (owners != 0) {
      GroupTile found;
      int left = number - (behind + end - tiles);
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        const int here = (at[i + 1] - at[i] + kTokens - 1) / kTokens;
        if (left >= 0 && left < here) found = {mine + i, at[i] + left * kTokens, at[i + 1] - at[i] - left * kTokens};
        left -= here;
      }
      const int owner = __ffs(static_cast<int>(owners)) - 1;
      return {__shfl_sync(~0u, found.group, owner), __shfl_sync(~0u, found.first, owner), __shfl_sync(~0u, found.rows, owner)};
    }
    behind += __shfl_sync(~0u, end, 31);
  }
  return {};
}

template <bool kF8, bool kGated, int kGroups>
struct Block {
  static constexpr int kInputs = kF8 ? 128 : 64;  // of a block of k

  const Arguments<kGroups>& a;
  const Map map;
  std::uint8_t* const memory;
  const std::uint32_t base;
  const GroupTile tile;
  const Group& group;
  const int rows, column, rank, k_blocks, each, begin, end;

  __device__ Block(const Arguments<kGroups>& args, std::uint8_t* shared, const GroupTile& t)
      : a(args), map(args.k_blocks, args.split), memory(shared), base(ptx::shared_address(shared)), tile(t), group(args.group[t.group]),
        rows(min(t.rows, kTokens)), column(static_cast<int>(blockIdx.x) / args.split * kOutputs), rank(static_cast<int>(blockIdx.x) % args.split),
        k_blocks((group.k + kInputs - 1) / kInputs), each((k_blocks + args.split - 1) / args.split), begin(min(rank * each, k_blocks)),
        end(min(begin + each, k_blocks)) {}

  __device__ std::uint32_t full(int i) const { return base + map.full(i % kStages); }
  __device__ std::uint32_t empty(int i) const { return base + map.empty(i % kStages); }
  __device__ std::int64_t packed_tile() const { return static_cast<std::int64_t>(column / kTileOutputs) * k_blocks; }
  __device__ float* row_scales() const { return reinterpret_cast<float*>(memory + map.row_scales()); }
  __device__ float* weight_scales() const { return reinterpret_cast<float*>(memory + map.weight_scales()); }

  // Block i of this block's share of k.
  __device__ void load(int i) const {
    const std::uint8_t* from = group.weights + (packed_tile() + begin + i) * kTileBytes + column % kTileOutputs * kTileRowBytes;
    ptx::mbarrier_arrive_expect_bytes(full(i), kStageBytes);
    ptx::load_bytes(base + i % kStages * kStageBytes, from, kStageBytes, full(i), kKeepShort);
  }
  __device__ void load_first() const {
    for (int stage = 0; stage < kStages; ++stage) {
      ptx::mbarrier_init(full(stage), 1);
      ptx::mbarrier_init(empty(stage), kMath / 32);
    }
    ptx::fence_mbarrier_init();
    for (int i = 0; i < min(kStages, end - begin); ++i) load(i);
  }
  __device__ void load_others() const {
    for (int i = kStages; i < end - begin; ++i) {
      ptx::mbarrier_wait(empty(i), i / kStages % 2 ^ 1);
      load(i);
    }
  }

  // One team's piece of a row, and where it goes.
  struct Piece {
    int token = -1, block = 0;  // block: of 128 inputs
    uint4 first = {}, second = {};  // or gate and up
  };
  __device__ Piece read(int item, int first_block, int blocks) const {
    Piece p;
    const int token = item / blocks, column_at = (first_block + item % blocks) * kFeedColumns + static_cast<int>(threadIdx.x) % kFeedTeam * kFeedEach;
    if (token >= rows) return p;
    p.token = token;
    p.block = first_block + item % blocks;
    const int row = tile.first + token;
    const __nv_bfloat16* from = a.x + (a.row_token ? a.row_token[row] : row) * a.stride;
    if constexpr (kGated) {
      from += column_at / kGateTurn * (2 * kGateTurn) + column_at % kGateTurn;
      p.first = *reinterpret_cast<const uint4*>(from);
      p.second = *reinterpret_cast<const uint4*>(from + kGateTurn);
    } else if (column_at < group.k) {
      p.first = *reinterpret_cast<const uint4*>(from + column_at);
    }
    return p;
  }
  __device__ void write(const Piece& p) const {
    const int lane = static_cast<int>(threadIdx.x) % kFeedTeam;
    float values[kFeedEach];
    unpack_8(p.first, values);
    if constexpr (kGated) {
      float up[kFeedEach];
      unpack_8(p.second, up);
#pragma unroll
      for (int i = 0; i < kFeedEach; ++i) values[i] = activation(a.glu, nullptr, 0, 0, values[i], up[i]);
    }
    if constexpr (kF8) {
      const float most = largest_of_team(values);
      if (p.token < 0) return;
      if (lane == 0) row_scales()[p.block * kTokens + p.token] = most / kLargestE4m3;
      *reinterpret_cast<uint2*>(memory + map.rows(p.block) + tile_offset(p.token, lane * kFeedEach)) = to_e4m3_8(values, most);
    } else if (p.token >= 0) {
      const int block = 2 * p.block + lane / 8;
      if (block < k_blocks) *reinterpret_cast<uint4*>(memory + map.rows(block) + tile_offset(p.token, lane % 8 * 16)) = to_bf16_8(values);
    }
  }
  // By kFeeders threads.
  __device__ void prepare_rows() const {
    if (kF8 && rank == 0) {
      const float* from = group.scales + packed_tile() * kTileScales + column % kTileOutputs / kOutputs;
      for (int i = threadIdx.x; i < k_blocks; i += kFeeders) weight_scales()[i] = from[i * kTileScales];
    }
    const int first = kF8 ? begin : 0, blocks = kF8 ? end - begin : (k_blocks + 1) / 2, items = rows * blocks;
    for (int item = threadIdx.x / kFeedTeam; item / 2 * 2 < items; item += kAhead * (kFeeders / kFeedTeam)) {
      Piece pieces[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) pieces[i] = read(item + i * (kFeeders / kFeedTeam), first, blocks);
#pragma unroll
      for (int i = 0; i < kAhead; ++i) write(pieces[i]);
    }
    ptx::fence_async_shared();
  }

  // Column `token` of the tile belongs to this thread, in e = 0 and 1.
  __device__ static int first_token() { return static_cast<int>(threadIdx.x) % 4 * 2; }
  __device__ int output(int half) const { return column + static_cast<int>(threadIdx.x) / 32 * 16 + static_cast<int>(threadIdx.x) % 32 / 4 + half * 8; }

  __device__ __forceinline__ void multiply(float (&sum)[4], int i) const {
    ptx::mbarrier_wait(full(i), i / kStages % 2);
    ptx::wgmma_fence();
    const std::uint64_t w = ptx::swizzled_operand(base + i % kStages * kStageBytes), x = ptx::swizzled_operand(base + map.rows(begin + i));
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      if constexpr (kF8) ptx::Wgmma<kTokens>::e4m3(sum, w + step * 2, x + step * 2, step != 0);
      else ptx::Wgmma<kTokens>::bf16(sum, w + step * 2, x + step * 2, 1);
    }
    ptx::wgmma_commit();
  }
  __device__ void release(int i) const {
    if (end - begin <= kStages) return;
    __syncwarp();
    if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive(empty(i));
  }

  // sum += the products of a block of k, scaled.
  __device__ __forceinline__ void add(float (&sum)[4], const float (&part)[4], int block) const {
    const float weight = weight_scales()[block];
    const float* row = row_scales() + block * kTokens + first_token();
    const float scale[2] = {row[0] * weight, row[1] * weight};
#pragma unroll
    for (int j = 0; j < 4; ++j) sum[j] += part[j] * scale[j % 2];
  }
  // The products of block i of the share, complete: added, or handed to the cluster's first block.
  __device__ __forceinline__ void take(float (&sum)[4], float (&part)[4], int i) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) ptx::wgmma_pin(part[j]);
    if (rank == 0) {
      add(sum, part, begin + i);
    } else if (first_token() < rows) {
      ptx::store_in_cluster(ptx::map_to_rank(base + map.part(begin + i - each) + threadIdx.x * 16, 0), part[0], part[1], part[2], part[3]);
    }
  }
  __device__ __forceinline__ void run_scaled(float (&sum)[4]) const {
    const int count = end - begin;
    float part[2][4] = {};
    int i = 0;
    for (; i + 2 <= count; i += 2) {
      multiply(part[0], i);
      ptx::wgmma_wait<1>();
      if (i > 0) release(i - 1), take(sum, part[1], i - 1);
      multiply(part[1], i + 1);
      ptx::wgmma_wait<1>();
      release(i), take(sum, part[0], i);
    }
    if (i < count) {
      multiply(part[0], i);
      ptx::wgmma_wait<1>();
      if (i > 0) take(sum, part[1], i - 1);
      ptx::wgmma_wait<0>();
      take(sum, part[0], i);
    } else {
      ptx::wgmma_wait<0>();
      if (i > 0) take(sum, part[1], i - 1);
    }
  }
  __device__ __forceinline__ void run_plain(float (&sum)[4]) const {
    for (int i = 0; i < end - begin; ++i) {
      multiply(sum, i);
      if (i == 0) continue;
      ptx::wgmma_wait<1>();
      release(i - 1);
    }
    ptx::wgmma_wait<0>();
#pragma unroll
    for (int j = 0; j < 4; ++j) ptx::wgmma_pin(sum[j]);
  }
  // The others' products, which lie in this block's memory.
  __device__ void add_others(float (&sum)[4]) const {
    if (first_token() >= rows) return;
#pragma unroll 4
    for (int block = end; block < k_blocks; ++block) {
      const float4 p = *reinterpret_cast<const float4*>(memory + map.part(block - each) + threadIdx.x * 16);
      const float part[4] = {p.x, p.y, p.z, p.w};
      add(sum, part, block);
    }
  }
  __device__ void send_scales() const {
    for (int i = threadIdx.x; i < (end - begin) * kTokens; i += kMath) {
      const int at = begin * kTokens + i;
      ptx::store_in_cluster(ptx::map_to_rank(base + map.row_scales() + at * 4, 0), row_scales()[at]);
    }
  }

  template <class Visit>
  __device__ void each_output(const Visit& visit) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int token = first_token() + j % 2, x = output(j / 2);
      if (token < rows && x < group.n) visit(j, (tile.first + token) * a.out_stride + x);
    }
  }
};

template <bool kF8, bool kGated, int kGroups>
__global__ void __launch_bounds__(kThreads, 2) few_rows_kernel(const __grid_constant__ Arguments<kGroups> a) {
  extern __shared__ __align__(1024) std::uint8_t memory[];
  const int number = static_cast<int>(blockIdx.y);
  const GroupTile tile = a.offsets ? find_rows(a.offsets, a.groups, number) : GroupTile{0, number * kTokens, a.rows - number * kTokens};
  if (tile.group < 0) return;
  const Block<kF8, kGated, kGroups> block(a, memory, tile);
  if (block.column >= block.group.n) return;
  const bool shares = a.split > 1;
  if (shares) ptx::cluster_arrive();
  const int warp = ptx::warp_number();
  const bool feeds = warp == kFeeders / 32 && ptx::elected();
  float old[4] = {}, sum[4] = {};
  if (feeds) block.load_first();
  if (warp < kFeeders / 32) block.prepare_rows();
  if (a.accumulate && warp < kMath / 32) block.each_output([&](int j, std::int64_t at) { old[j] = static_cast<const float*>(a.out)[at]; });
  __syncthreads();
  if (shares) ptx::cluster_wait();
  if (feeds) block.load_others();
  if (warp < kMath / 32) {
    if constexpr (kF8) block.run_scaled(sum);
    else block.run_plain(sum);
    if (shares && block.rank > 0) block.send_scales();
  }
  if (shares) {
    ptx::cluster_arrive();
    ptx::cluster_wait();
    if (block.rank > 0) return;
  }
  if (warp >= kMath / 32) return;
  if (shares) block.add_others(sum);
  block.each_output([&](int j, std::int64_t at) {
    if (a.out_float) static_cast<float*>(a.out)[at] = a.accumulate ? sum[j] + old[j] : sum[j];
    else static_cast<__nv_bfloat16*>(a.out)[at] = __float2bfloat16_rn(sum[j]);
  });
}

template <bool kF8, bool kGated, int kGroups>
void run(const FewRows& call, Stream& s) {
  Arguments<kGroups> a{static_cast<const __nv_bfloat16*>(call.x), call.stride, call.row_token, call.offsets, call.out.data, call.out.stride, call.glu,
                       static_cast<int>(call.rows), static_cast<int>(call.weights.size()), call.split, 0, call.out.dtype == DType::kF32,
                       call.accumulate, {}};
  int columns = 0;
  for (std::size_t g = 0; g < call.weights.size(); ++g) {
    const GemmWeight& w = call.weights[g];
    a.group[g] = {w.values, w.scales, w.n, w.k};
    columns = std::max(columns, w.n);
    a.k_blocks = std::max(a.k_blocks, PackedShape{call.precision, 1, w.n, w.k}.k_blocks());
  }
  const Map map(a.k_blocks, call.split);
  const auto groups = static_cast<std::int64_t>(call.weights.size());
  const std::int64_t tiles = call.offsets ? std::min(call.rows, groups - 1 + (call.rows + kTokens - 1) / kTokens) : (call.rows + kTokens - 1) / kTokens;
  const auto kernel = few_rows_kernel<kF8, kGated, kGroups>;
  s.check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, map.bytes()), "few rows");
  if (s.failed()) return;
  cudaLaunchAttribute cluster;
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {static_cast<unsigned>(call.split), 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>((columns + kOutputs - 1) / kOutputs * call.split), static_cast<unsigned>(tiles));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = static_cast<std::size_t>(map.bytes());
  config.stream = s.queue();
  config.attrs = &cluster;
  config.numAttrs = call.split > 1 ? 1 : 0;
  s.check(cudaLaunchKernelEx(&config, kernel, a), "few rows");
}

template <bool kF8, bool kGated>
void run_groups(const FewRows& call, Stream& s) {
  if (call.weights.size() <= 1) run<kF8, kGated, 1>(call, s);
  else if (call.weights.size() <= 136) run<kF8, kGated, 136>(call, s);
  else run<kF8, kGated, kMostGemmGroups>(call, s);
}

}  // namespace

void run_few_rows(const FewRows& call, Stream& s) {
  if (s.failed() || call.rows == 0) return;
  if (call.precision == Precision::kFp8) call.gated ? run_groups<true, true>(call, s) : run_groups<true, false>(call, s);
  else call.gated ? run_groups<false, true>(call, s) : run_groups<false, false>(call, s);
}

}  // namespace braid::cuda
