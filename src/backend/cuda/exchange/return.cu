// SPDX-License-Identifier: Apache-2.0
// Return: results go back to the tokens that they belong to.
//
// The idea: a rank sums its results of a token and writes one row to the token's home, where it lies
// until the home adds it up: own results first, then the rows of the other ranks in their order, so
// that a sum does not depend on who came first.
//
// Memory: every result is read once, by four rows of a token at a time; sums stay in registers; one
// row a token and rank crosses the link, 16 bytes a thread, straight into the home's window. Chunks
// of a source's tokens are announced as in dispatch.cu.
// Blocks: when one kernel does both halves, half of them send; the rest sum up own tokens chunk by chunk
// as they come home, and the senders join them.
// A flag comes from every rank for every chunk, with results or without: a rank that has collected
// knows that all others are done with what it sent, and may send again.
// Bound: NVLink, or memory where many results are summed.
#include <algorithm>

#include "backend/cuda/exchange/pieces.cuh"
#include "backend/cuda/exchange/work.cuh"

namespace braid::cuda {
namespace {

constexpr int kTogether = 4;
constexpr int kHeld = 2;  // pieces of a thread that are summed before the others' sums have come

struct Scratch {
  int row[kStagedChoices];  // of the result of each choice of a chunk's tokens, -1: another rank's
  float weight[kStagedChoices];
  int ranks[kStagedChoices];  // that a token went to, as bits
  int found[kStagedChoices];  // own results of a token; without row_per_choice they lie first, in their order
};

struct Chunk {
  int source, number, begin, count;
};
__device__ inline Chunk chunk_at(int source, int number, std::int64_t tokens) {
  const int each = static_cast<int>(chunk_tokens(tokens)), begin = number * each;
  return {source, number, begin, max(0, min(each, static_cast<int>(tokens) - begin))};
}
// At least one, so that ranks without tokens hear of it too.
__device__ inline int return_chunks(std::int64_t tokens) { return max(1, static_cast<int>(chunks_of(tokens))); }

// What is known of the choices of the chunk's tokens.
__device__ inline void stage(const ExchangeShared& s, const Chunk& chunk, Scratch& scratch) {
  const std::int64_t first = chunk.source * s.at.tickets + static_cast<std::int64_t>(chunk.begin) * s.top_k;
  const int* const position = in_own<int>(s, s.at.position) + first;
  const float* const weights = in_window<float>(s, s.rank, s.at.weights) + first;
  const int* const slots = in_window<int>(s, s.rank, s.at.slots) + first;
  __syncthreads();
  for (int i = threadIdx.x; i < chunk.count; i += blockDim.x) scratch.ranks[i] = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < chunk.count * s.top_k; i += blockDim.x) {
    scratch.row[i] = __ldcg(position + i);
    scratch.weight[i] = __ldcg(weights + i);
    atomicOr(&scratch.ranks[i / s.top_k], 1 << __ldcg(slots + i) / s.slots_each);
  }
  __syncthreads();
  if (s.row_per_choice) return;
  for (int token = threadIdx.x; token < chunk.count; token += blockDim.x) {
    int end = token * s.top_k;
    for (int i = end; i < (token + 1) * s.top_k; ++i) {
      if (scratch.row[i] < 0) continue;
      scratch.row[end] = scratch.row[i];
      scratch.weight[end++] = scratch.weight[i];
    }
    scratch.found[token] = end - token * s.top_k;
  }
  __syncthreads();
}

// sums += the weighted results that this rank has of a token, in the order of choices.
template <class Piece, int kColumns>
__device__ inline void add_results(const ExchangeShared& s, const ReturnCall& c, const Scratch& scratch, int token, std::int64_t column,
                                   Sums<kColumns>& sums) {
  for (int first = token * s.top_k, end = first + scratch.found[token]; first < end; first += kTogether) {
    Piece pieces[kTogether];
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      if (first + j < end) pieces[j].load(c.results, scratch.row[first + j], column);
    }
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      if (first + j < end) add(sums, scratch.weight[first + j], pieces[j].template columns<kColumns>());
    }
  }
}

__device__ inline std::byte* home_row(const ExchangeShared& s, int home, std::int64_t row) {
  return s.window[home] + s.at.returns + row * s.at.return_bytes;
}
// Of the sums that `from` returns.
__device__ inline std::byte* home_of_sum(const ExchangeShared& s, int home, int from, std::int64_t token) {
  return home_row(s, home, peer_index(from, home) * s.tokens + token);
}

// Calls visit(token of the chunk, column) for every 16 bytes of its rows.
template <int kColumns, class Visit>
__device__ inline void for_columns(const ExchangeShared& s, const Chunk& chunk, Visit visit) {
  const unsigned each = (s.hidden + kColumns - 1) / kColumns, total = chunk.count * each;
  for (unsigned i = threadIdx.x; i < total; i += kExchangeThreads) visit(static_cast<int>(i / each), static_cast<std::int64_t>(i % each) * kColumns);
}

template <class Piece, int kColumns>
__device__ void send_chunk(const ExchangeShared& s, const ReturnCall& c, const Chunk& chunk, Scratch& scratch) {
  stage(s, chunk, scratch);
  constexpr int kBytes = 16 / kColumns;
  for_columns<kColumns>(s, chunk, [&](int token, std::int64_t column) {
    if (!s.row_per_choice) {
      if (!s.everywhere && (scratch.ranks[token] >> s.rank & 1) == 0) return;
      Sums<kColumns> sums{};
      add_results<Piece>(s, c, scratch, token, column, sums);
      *reinterpret_cast<uint4*>(home_of_sum(s, chunk.source, s.rank, chunk.begin + token) + column * kBytes) = pack(sums);
      return;
    }
    for (int j = 0; j < s.top_k; ++j) {
      const int row = scratch.row[token * s.top_k + j];
      if (row < 0) continue;
      const std::int64_t home = static_cast<std::int64_t>(chunk.begin + token) * s.top_k + j;
      *reinterpret_cast<uint4*>(home_row(s, chunk.source, home) + column * kBytes) = pack(load_columns<Piece, kColumns>(c.results, row, column));
    }
  });
}

template <class Piece, int kColumns>
__device__ void send_results(const ExchangeShared& s, const ReturnCall& c, std::uint32_t epoch, int sender, int senders, Scratch& scratch) {
  const int peers = s.ranks - 1;
  int most = 0;
  for (int r = 0; r < s.ranks; ++r) most = max(most, return_chunks(state_of(s).arrived[r]));
  for (int work = sender; work < most * peers; work += senders) {
    const int source = (s.rank + 1 + work % peers) % s.ranks, number = work / peers;
    const std::int64_t tokens = state_of(s).arrived[source];
    if (number >= return_chunks(tokens)) continue;
    send_chunk<Piece, kColumns>(s, c, chunk_at(source, number, tokens), scratch);
    __syncthreads();
    if (threadIdx.x == 0) store_release(in_window<std::uint32_t>(s, source, s.at.return_flags) + s.rank * kChunks + number, epoch);
  }
}

template <int kColumns>
__device__ inline void add_home(const std::byte* row, std::int64_t column, float weight, Sums<kColumns>& sums) {
  Sums<kColumns> piece;
  unpack(__ldcg(reinterpret_cast<const uint4*>(row + column * (16 / kColumns))), piece);
  add(sums, weight, piece);
}

template <int kColumns>
__device__ inline void add_returns(const ExchangeShared& s, const Scratch& scratch, const Chunk& chunk, int token, std::int64_t column,
                                   Sums<kColumns>& sums) {
  for (int r = 0; r < s.ranks; ++r) {
    if (r == s.rank || (!s.everywhere && (scratch.ranks[token] >> r & 1) == 0)) continue;
    add_home(home_of_sum(s, s.rank, r, chunk.begin + token), column, 1.0f, sums);
  }
}

template <class Piece, int kColumns>
__device__ inline void add_choices(const ExchangeShared& s, const ReturnCall& c, const Scratch& scratch, const Chunk& chunk, int token,
                                   std::int64_t column, Sums<kColumns>& sums) {
  for (int j = 0; j < s.top_k; ++j) {
    const int at = token * s.top_k + j, row = scratch.row[at];
    if (row >= 0) add(sums, scratch.weight[at], load_columns<Piece, kColumns>(c.results, row, column));
    else add_home(home_row(s, s.rank, static_cast<std::int64_t>(chunk.begin + token) * s.top_k + j), column, scratch.weight[at], sums);
  }
}

template <class Piece, int kColumns>
__device__ void collect_chunk(const ExchangeShared& s, const ReturnCall& c, std::uint32_t epoch, const Chunk& chunk, Scratch& scratch) {
  stage(s, chunk, scratch);
  const bool wide = rows_are_wide(c.out);
  const auto wait = [&] {
    const int peer = threadIdx.x;
    if (peer < s.ranks && peer != s.rank) {
      await(s, in_window<std::uint32_t>(s, s.rank, s.at.return_flags) + peer * kChunks + chunk.number, epoch, {WaitSite::kReturns, c.layer, peer, chunk.number});
    }
    __syncthreads();
  };
  const unsigned each = (s.hidden + kColumns - 1) / kColumns, total = chunk.count * each;
  if (!s.row_per_choice && total <= kHeld * kExchangeThreads) {
    // Own results are summed while the others are on their way.
    Sums<kColumns> held[kHeld];
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
      const unsigned i = threadIdx.x + h * kExchangeThreads;
      held[h] = {};
      if (i >= total) continue;
      const int token = static_cast<int>(i / each);
      const std::int64_t column = static_cast<std::int64_t>(i % each) * kColumns;
      if (!c.replace) held[h] = load_out<kColumns>(c.out, chunk.begin + token, column, wide);
      add_results<Piece>(s, c, scratch, token, column, held[h]);
    }
    wait();
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
      const unsigned i = threadIdx.x + h * kExchangeThreads;
      if (i >= total) continue;
      const int token = static_cast<int>(i / each);
      const std::int64_t column = static_cast<std::int64_t>(i % each) * kColumns;
      add_returns(s, scratch, chunk, token, column, held[h]);
      store_columns(c.out, chunk.begin + token, column, wide, held[h]);
    }
    return;
  }
  wait();
  for_columns<kColumns>(s, chunk, [&](int token, std::int64_t column) {
    Sums<kColumns> sums{};
    if (!c.replace) sums = load_out<kColumns>(c.out, chunk.begin + token, column, wide);
    if (s.row_per_choice) {
      add_choices<Piece>(s, c, scratch, chunk, token, column, sums);
    } else {
      add_results<Piece>(s, c, scratch, token, column, sums);
      add_returns(s, scratch, chunk, token, column, sums);
    }
    store_columns(c.out, chunk.begin + token, column, wide, sums);
  });
}

template <class Piece, int kColumns>
__device__ void collect(const ExchangeShared& s, const ReturnCall& c, std::uint32_t epoch, Scratch& scratch) {
  for (int number = take_work(s); number < return_chunks(c.count); number = take_work(s)) {
    collect_chunk<Piece, kColumns>(s, c, epoch, chunk_at(s.rank, number, c.count), scratch);
  }
}

template <class Piece, int kColumns>
__device__ void give_back(const ExchangeShared& s, const ReturnCall& c, std::uint32_t epoch, Scratch& scratch) {
  const bool both = c.send && c.collect;
  const int sender = c.send ? sender_index(both) : -1;
  if (sender >= 0) send_results<Piece, kColumns>(s, c, epoch, sender, senders(both), scratch);
  if (c.collect) collect<Piece, kColumns>(s, c, epoch, scratch);
}

// kColumns: of 16 bytes of a returned row.
template <DType kResults, int kColumns>
__global__ void __launch_bounds__(kExchangeThreads, kExchangeBlocksEach)
    return_kernel(const __grid_constant__ ExchangeShared s, const __grid_constant__ ReturnCall c) {
  extern __shared__ int shared[];
  Scratch& scratch = *reinterpret_cast<Scratch*>(shared);
  const std::uint32_t epoch = epoch_of(s);
  const bool wide = rows_are_wide(c.results) && s.hidden % kColumns == 0;
  if (wide) give_back<WholePiece<kResults, kColumns>, kColumns>(s, c, epoch, scratch);
  else give_back<PartPiece<kResults, kColumns>, kColumns>(s, c, epoch, scratch);
  finish(s, c.collect);
}

using ReturnKernel = void (*)(ExchangeShared, ReturnCall);
template <DType kResults>
ReturnKernel return_kernel_of(DType returns) {
  return returns == DType::kBF16 ? return_kernel<kResults, 8> : return_kernel<kResults, 4>;
}
ReturnKernel return_kernel_of(DType results, DType returns) {
  return results == DType::kBF16 ? return_kernel_of<DType::kBF16>(returns) : return_kernel_of<DType::kF32>(returns);
}

}  // namespace

void launch_return(const ExchangeShared& shared, const ReturnCall& call, int blocks, cudaStream_t queue) {
  const ReturnKernel kernel = return_kernel_of(call.results.dtype, shared.returns);
  kernel<<<static_cast<unsigned>(blocks), kExchangeThreads, sizeof(Scratch), queue>>>(shared, call);
}

int return_blocks_each(DType returns) {
  int fewest = kExchangeBlocksEach;
  for (const DType results : {DType::kBF16, DType::kF32}) {
    const ReturnKernel kernel = return_kernel_of(results, returns);
    if (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Scratch)) != cudaSuccess) return 0;
    int blocks = 0;
    cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, kExchangeThreads, sizeof(Scratch));
    fewest = std::min(fewest, blocks);
  }
  return fewest;
}

}  // namespace braid::cuda
