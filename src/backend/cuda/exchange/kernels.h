// SPDX-License-Identifier: Apache-2.0
// The kernels of an exchange, and what they are launched with.
#pragma once

#include <cuda_runtime_api.h>

#include "backend/cuda/exchange/layout.h"
#include "backend/cuda/fault.h"
#include "ops/exchange.h"

namespace braid::cuda {

inline constexpr int kExchangeThreads = 512;
inline constexpr int kExchangeBlocksEach = 2;  // of a multiprocessor
// Choices of one chunk's tokens, staged in shared memory.
inline constexpr int kStagedChoices = 4096;

// The same for every launch.
struct ExchangeShared {
  int ranks, rank, top_k, slots_each;
  std::int64_t hidden, tokens, pitch;
  bool fp8, everywhere, row_per_choice, in_place, grouped_fp8;
  DType returns;
  ExchangeLayout at;
  std::byte* window[ops::Exchange::kMostRanks];  // as this device sees them
  std::byte* own;
  Fault* fault;
  std::uint64_t timeout_ns;
  int staged_rows;  // that a block of the dispatch holds in shared memory for the copy engine; 0: threads copy
};

struct DispatchCall {
  Activations x;
  std::int64_t count;  // tokens
  const std::int32_t* ids;
  const float* weights;
  ops::Exchange::Slots slots;
  std::int64_t first_row;
  std::int64_t staged;  // row of x among the own ones, -1: x lies elsewhere
  int layer;
  std::int64_t* slot_rows;
  bool send, receive;
};

struct ReturnCall {
  Activations results, out;
  std::int64_t count;  // own tokens
  int layer;
  bool send, collect, replace;
};

// `blocks` that run at the same time.
void launch_dispatch(const ExchangeShared& shared, const DispatchCall& call, int blocks, cudaStream_t queue);
void launch_return(const ExchangeShared& shared, const ReturnCall& call, int blocks, cudaStream_t queue);
// Rows that a block stages when they lie in groups as they travelled, on a GPU that copies in bulk.
int staged_rows(const ops::Exchange::Options& options, const ExchangeLayout& layout, int capability);
// Blocks of a multiprocessor on the current device; they load the kernels too, which must not happen while others
// wait for each other.
int dispatch_blocks_each(bool fp8, std::int64_t staged_bytes);
int return_blocks_each(DType returns);

}  // namespace braid::cuda
