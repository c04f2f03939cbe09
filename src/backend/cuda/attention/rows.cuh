// SPDX-License-Identifier: Apache-2.0
// Where keys and values of a position lie, which sequence a tile of queries belongs to, and what every
// prefill kernel is given.
#pragma once

#include "backend/cuda/rows/element.cuh"
#include "backend/cuda/rows/fp8_row.cuh"
#include "ops/attention.h"

namespace braid::cuda {

// Row of the cache of the token at `position`.
__device__ inline std::int64_t paged_row(const std::int32_t* table, int block_size, std::int64_t position) {
  return static_cast<std::int64_t>(table[position / block_size]) * block_size + position % block_size;
}

// AttentionShape::first_key() as kernels call it.
__device__ inline std::int64_t first_key(const ops::AttentionShape& s, std::int64_t position) {
  const std::int64_t of_window = s.window > 0 ? position + 1 - s.window : 0;
  const std::int64_t of_chunk = s.chunk > 0 ? position - position % s.chunk : 0;
  return max(std::int64_t{0}, max(of_window, of_chunk));
}

__device__ inline std::int64_t key_row(const ops::AttentionPrefill::Sequence& s, int block_size, std::int64_t position) {
  return s.table ? paged_row(s.table, block_size, position) : s.key_row + position - s.key_first;
}

// First element of a kv head in a row.
__device__ inline const void* head_row(const ops::Rows& rows, std::int64_t row, int kv_head) {
  return static_cast<const char*>(rows.base) + (row * rows.row_stride + kv_head * rows.head_stride) * (rows.dtype == DType::kBF16 ? 2 : 4);
}

// Element i of a kv head in a row of any type.
__device__ inline float load_cached(const ops::Rows& rows, std::int64_t row, int kv_head, int i) {
  if (rows.dtype != DType::kF8E4M3) return load(head_row(rows, row, kv_head), rows.dtype, i);
  return fp8_at(static_cast<const char*>(rows.base) + row * rows.row_stride, rows.fp8, static_cast<int>(rows.first + kv_head * rows.head_stride) + i);
}

__device__ inline std::uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&both);
}

struct QueryTile {
  int sequence = -1;  // -1: there is no such tile
  std::int64_t first = 0;  // query of the sequence
};

// Tile number `tile` when each sequence's queries are cut into tiles of `size`.
__device__ inline QueryTile find_query_tile(const ops::AttentionPrefill::Sequence* sequences, int count, int size, int tile) {
  for (int s = 0; s < count; ++s) {
    const int tiles = static_cast<int>((sequences[s].rows + size - 1) / size);
    if (tile < tiles) return {s, static_cast<std::int64_t>(tile) * size};
    tile -= tiles;
  }
  return {};
}

inline unsigned query_tiles(const ops::AttentionPrefill::Args& a, int size) {
  unsigned tiles = 0;
  for (const auto& s : a.sequences) tiles += blocks_for(s.rows, size);
  return tiles;
}

// The arguments of attention_prefill as a kernel takes them.
struct PrefillTask {
  ops::AttentionShape shape;
  Activations q, out;
  ops::Rows k, v;
  int block_size, count;
  const ops::AttentionPrefill::Sequence* sequences;
  float* state;
  bool first_segment, last_segment;
  const float* sinks;  // null: none

  // The first key that a tile visits, at a multiple of `size`, when its first query is at `position`.
  __device__ std::int64_t begin(const ops::AttentionPrefill::Sequence& s, std::int64_t position, int size) const {
    return max(s.key_first, first_key(shape, position) / size * size);
  }
};

inline PrefillTask prefill_task(const ops::AttentionPrefill::Args& a) {
  return {a.shape, a.q, a.out, a.k, a.v, a.block_size, static_cast<int>(a.sequences.size()),
          a.sequences.device, a.state, a.first_segment, a.last_segment, a.sinks};
}

}  // namespace braid::cuda
