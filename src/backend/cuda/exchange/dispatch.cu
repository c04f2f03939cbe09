// SPDX-License-Identifier: Apache-2.0
// Dispatch: rows of tokens go to the ranks of their experts, and what arrives is ordered by expert.
//
// The idea: a row's place at its destination is its number at its source, so nothing is agreed on.
// Every rank tells every other the slots and weights of all its choices (tickets: 64 bytes a token with
// eight of them), and a destination works out for itself which rows it got and where their results go.
//
// Memory: a row is read once and written once to each destination, 16 bytes a thread, straight into
// the peer's window; chunks of rows are announced by flags. In place, rows stay where they arrive and an
// index names them. Grouped, each row is written once for every result, as it arrives: a block puts some rows into
// its shared memory, from where the copy engine writes each of them as often as it is needed.
// Blocks, when one kernel does both halves: half of them send rows. The rest send tickets; block 0 waits for
// those of all ranks, sorts them and says so; the others then write rows to their groups, the own ones first, then in
// the order of arrival, and the senders join them.
// Bound: NVLink (grouped: memory, with a write for every result).
#include <algorithm>

#include "backend/cuda/exchange/pieces.cuh"
#include "backend/cuda/exchange/work.cuh"
#include "backend/cuda/ptx/barrier.cuh"
#include "backend/cuda/ptx/copy.cuh"

namespace braid::cuda {
namespace {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
constexpr bool kBulkCopies = true;
#else
constexpr bool kBulkCopies = false;
#endif
constexpr std::int64_t kStagedBytes = 72 << 10;

struct Scratch {
  int list[kStagedChoices];   // of a chunk's tokens: rows of their results
  int found[kStagedChoices];  // how many of them, or the ranks that a row goes to
  int cursor[ops::Exchange::kMostSlots];
  int arrived[ops::Exchange::kMostRanks];
};

struct Chunk {
  int begin, count;
};
__device__ inline Chunk chunk_at(std::int64_t tokens, int number) {
  const int each = static_cast<int>(chunk_tokens(tokens)), begin = number * each;
  return {begin, min(each, static_cast<int>(tokens) - begin)};
}

__device__ inline int slot_of(const DispatchCall& c, std::int64_t choice, int top_k) {
  const int expert = __ldg(c.ids + choice), first = __ldg(c.slots.first + expert), count = __ldg(c.slots.first + expert + 1) - first;
  if (count == 1) return __ldg(c.slots.replicas + first);
  const auto hash = static_cast<std::uint32_t>(c.first_row + choice / top_k) * 2654435769u;
  return __ldg(c.slots.replicas + first + hash % static_cast<std::uint32_t>(count));
}

__device__ inline bool are_few(const ExchangeShared& s, std::int64_t choices) { return choices <= s.at.told_each; }
__device__ inline std::uint64_t with_epoch(std::uint32_t epoch, std::uint32_t value) { return static_cast<std::uint64_t>(epoch) << 32 | value; }

__device__ void send_tickets(const ExchangeShared& s, const DispatchCall& c, std::uint32_t epoch, const Teller& teller) {
  const bool few = are_few(s, c.count * s.top_k);
  const auto tell_count = [&](int piece) {
    if (static_cast<int>(threadIdx.x) >= s.ranks) return;
    store_release(in_window<std::uint64_t>(s, threadIdx.x, s.at.ticket_flags) + s.rank * kPieces + piece, with_epoch(epoch, static_cast<std::uint32_t>(c.count)));
  };
  if (few && teller.index == 0) tell_count(0);
  for (int piece = teller.index; piece < kPieces; piece += teller.count) {
    const std::int64_t begin = c.count * piece / kPieces * s.top_k, end = c.count * (piece + 1) / kPieces * s.top_k;
    for (std::int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
      const int slot = slot_of(c, i, s.top_k);
      const float weight = __ldg(c.weights + i);
      for (int r = 0; r < s.ranks; ++r) {
        if (few) {
          store_told(in_window<Told>(s, r, s.at.told) + s.rank * s.at.told_each + i, {with_epoch(epoch, static_cast<std::uint32_t>(slot)), with_epoch(epoch, __float_as_uint(weight))});
        } else {
          in_window<int>(s, r, s.at.slots)[s.rank * s.at.tickets + i] = slot;
          in_window<float>(s, r, s.at.weights)[s.rank * s.at.tickets + i] = weight;
        }
      }
    }
    if (few) continue;
    __syncthreads();
    tell_count(piece);
  }
}

// The pieces of `rows` rows, all threads side by side: load into kAhead of them, then encode and store each.
template <class Source, class Load, class Store>
__device__ inline void for_pieces(int rows, std::int64_t columns, Load load, Store store) {
  constexpr bool kWide = std::is_same_v<Source, WidePiece>;
  constexpr int kAhead = kWide ? 4 : 2, kColumns = kWide ? WidePiece::kColumns : Fp8Piece::kColumns;
  const unsigned each = kWide ? (columns + 7) / 8 : (columns + 127) / 128 * 8, total = rows * each;
  for (unsigned first = threadIdx.x; first < total; first += kAhead * kExchangeThreads) {
    Source source[kAhead];
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const unsigned i = first + j * kExchangeThreads;
      if (i < total) load(static_cast<int>(i / each), static_cast<std::int64_t>(i % each) * kColumns, source[j]);
    }
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const unsigned i = first + j * kExchangeThreads;
      if (i < total) store(static_cast<int>(i / each), static_cast<std::int64_t>(i % each) * kColumns, source[j]);
    }
  }
}

__device__ inline std::byte* record_at(const ExchangeShared& s, int home, int source, std::int64_t token) {
  const std::int64_t row = (source == home ? s.ranks - 1 : peer_index(source, home)) * s.tokens + token;
  return s.window[home] + s.at.rows + row * s.at.record_bytes;
}

__device__ inline const __nv_bfloat16* row_of_x(const DispatchCall& c, std::int64_t token) {
  return static_cast<const __nv_bfloat16*>(c.x.data) + token * c.x.stride;
}

// Which ranks each token of the chunk goes to, as bits.
__device__ inline void find_ranks(const ExchangeShared& s, const DispatchCall& c, const Chunk& chunk, int* ranks) {
  const int copy_own = s.in_place && c.staged < 0 ? 1 << s.rank : 0;
  const int others = ((1 << s.ranks) - 1) & ~(1 << s.rank);
  __syncthreads();
  for (int i = threadIdx.x; i < chunk.count; i += blockDim.x) ranks[i] = s.everywhere ? others | copy_own : 0;
  __syncthreads();
  for (int i = threadIdx.x; i < chunk.count * s.top_k; i += blockDim.x) {
    const int to = 1 << slot_of(c, static_cast<std::int64_t>(chunk.begin) * s.top_k + i, s.top_k) / s.slots_each;
    if ((to & (others | copy_own)) != 0) atomicOr(&ranks[i / s.top_k], to);
  }
  __syncthreads();
}

template <class Source>
__device__ void send_rows(const ExchangeShared& s, const DispatchCall& c, std::uint32_t epoch, int sender, int senders, Scratch& scratch) {
  const bool wide = aligned(c.x.data, c.x.stride * 2);
  const int chunks = static_cast<int>(chunks_of(c.count));
  for (int number = sender; number < chunks; number += senders) {
    const Chunk chunk = chunk_at(c.count, number);
    find_ranks(s, c, chunk, scratch.found);
    for_pieces<Source>(
        chunk.count, s.hidden,
        [&](int row, std::int64_t column, Source& source) { load_source(row_of_x(c, chunk.begin + row), column, s.hidden, wide, source); },
        [&](int row, std::int64_t column, const Source& source) {
          const auto piece = encode(source);
          if (column >= s.hidden) return;
          for (int ranks = scratch.found[row]; ranks != 0; ranks &= ranks - 1) {
            put_record(record_at(s, __ffs(ranks) - 1, s.rank, chunk.begin + row), s.at.codes_bytes, column, piece);
          }
        });
    __syncthreads();
    const int to = threadIdx.x;
    if (to >= s.ranks || to == s.rank) continue;
    store_release(in_window<std::uint32_t>(s, to, s.at.row_flags) + s.rank * kChunks + number, epoch);
  }
}

// Puts the choices of ranks that have few where those of the others are.
__device__ void hear(const ExchangeShared& s, const DispatchCall& c, std::uint32_t epoch, const int* arrived, int* missing) {
  constexpr int kLoaded = 4, kPolls = 1000;
  int most = 0;
  for (int r = 0; r < s.ranks; ++r) {
    if (are_few(s, static_cast<std::int64_t>(arrived[r]) * s.top_k)) most = max(most, arrived[r] * s.top_k);
  }
  for (int base = threadIdx.x; base < s.ranks * most; base += kLoaded * kExchangeThreads) {
    int source[kLoaded], choice[kLoaded];
    Told told[kLoaded];
    bool here[kLoaded], all = false;
#pragma unroll
    for (int j = 0; j < kLoaded; ++j) {
      const int i = base + j * kExchangeThreads;
      source[j] = i / most, choice[j] = i % most;
      const int total = source[j] < s.ranks ? arrived[source[j]] * s.top_k : 0;
      here[j] = choice[j] >= total || !are_few(s, total);
      if (here[j]) source[j] = -1;
    }
    const auto at = [&](int j) { return in_window<Told>(s, s.rank, s.at.told) + source[j] * s.at.told_each + choice[j]; };
    for (int poll = 0; poll < kPolls && !all; ++poll) {
#pragma unroll
      for (int j = 0; j < kLoaded; ++j) {
        if (!here[j]) told[j] = load_told(at(j));
      }
      all = true;
#pragma unroll
      for (int j = 0; j < kLoaded; ++j) {
        here[j] = here[j] || (reached(epoch_in(told[j].slot), epoch) && reached(epoch_in(told[j].weight), epoch));
        all = all && here[j];
      }
    }
#pragma unroll
    for (int j = 0; j < kLoaded; ++j) {
      if (source[j] < 0) continue;
      if (!here[j]) {
        const Awaited what{WaitSite::kTickets, c.layer, source[j], 0};
        told[j] = {await(s, &at(j)->slot, epoch, what), await(s, &at(j)->weight, epoch, what)};
        if (!reached(epoch_in(told[j].slot), epoch) || !reached(epoch_in(told[j].weight), epoch)) missing[source[j]] = 1;
      }
      in_window<int>(s, s.rank, s.at.slots)[source[j] * s.at.tickets + choice[j]] = static_cast<int>(told[j].slot);
      in_window<float>(s, s.rank, s.at.weights)[source[j] * s.at.tickets + choice[j]] = __uint_as_float(static_cast<std::uint32_t>(told[j].weight));
    }
  }
}

// How many tokens a rank sent, -1: it did not say so in time.
__device__ inline int await_count(const ExchangeShared& s, const DispatchCall& c, std::uint32_t epoch, int source) {
  const std::uint64_t flag = await(s, in_window<std::uint64_t>(s, s.rank, s.at.ticket_flags) + source * kPieces, epoch, {WaitSite::kTickets, c.layer, source, 0});
  return epoch_in(flag) == epoch ? min(static_cast<int>(flag), static_cast<int>(s.tokens)) : -1;
}

// How many tokens each rank sent; none if its tickets did not come in time.
__device__ void await_tickets(const ExchangeShared& s, const DispatchCall& c, std::uint32_t epoch, int* arrived) {
  __shared__ int missing[ops::Exchange::kMostRanks];
  if (static_cast<int>(threadIdx.x) < s.ranks) {
    const int count = await_count(s, c, epoch, threadIdx.x);
    arrived[threadIdx.x] = max(count, 0);
    missing[threadIdx.x] = count < 0;
  }
  __syncthreads();
  hear(s, c, epoch, arrived, missing);
  for (int i = threadIdx.x; i < s.ranks * kPieces; i += blockDim.x) {
    const int source = i / kPieces, piece = i % kPieces;
    if (are_few(s, static_cast<std::int64_t>(arrived[source]) * s.top_k)) continue;
    const std::uint64_t flag = await(s, in_window<std::uint64_t>(s, s.rank, s.at.ticket_flags) + i, epoch, {WaitSite::kTickets, c.layer, source, piece});
    if (epoch_in(flag) != epoch) missing[source] = 1;
  }
  __syncthreads();
  if (static_cast<int>(threadIdx.x) < s.ranks && missing[threadIdx.x]) arrived[threadIdx.x] = 0;
  __syncthreads();
}

// Calls visit(choice, local slots or -1) for four choices at a time of a source's tokens; a thread loads
// many before it visits the first.
template <class Visit>
__device__ inline void for_choices(const ExchangeShared& s, int source, int tokens, Visit visit) {
  constexpr int kLoaded = 4;
  const int* const slots = in_window<int>(s, s.rank, s.at.slots) + source * s.at.tickets;
  const int total = tokens * s.top_k, first = s.rank * s.slots_each;
  for (int base = threadIdx.x * 4; base < total; base += kLoaded * kExchangeThreads * 4) {
    int4 fours[kLoaded];
#pragma unroll
    for (int l = 0; l < kLoaded; ++l) {
      const int i = base + l * kExchangeThreads * 4;
      if (i < total) fours[l] = __ldcg(reinterpret_cast<const int4*>(slots + i));
    }
#pragma unroll
    for (int l = 0; l < kLoaded; ++l) {
      const int i = base + l * kExchangeThreads * 4;
      if (i >= total) break;
      int local[4] = {fours[l].x - first, fours[l].y - first, fours[l].z - first, fours[l].w - first};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const bool own = i + j < total && static_cast<unsigned>(local[j]) < static_cast<unsigned>(s.slots_each);
        local[j] = own ? local[j] : -1;
      }
      visit(i, local);
    }
  }
}

// From counts to where each slot's results begin.
__device__ inline void place_slots(const ExchangeShared& s, std::int64_t* slot_rows, int* cursor) {
  if (threadIdx.x >= 32) return;
  int* const offsets = in_own<int>(s, s.at.offsets);
  int* const counts = in_own<int>(s, s.at.counts);
  const int lane = threadIdx.x;
  int before = 0;
  for (int base = 0; base < s.slots_each; base += 32) {
    const int slot = base + lane, count = slot < s.slots_each ? cursor[slot] : 0;
    int sum = count;
    for (int d = 1; d < 32; d *= 2) {
      const int other = __shfl_up_sync(~0u, sum, d);
      if (lane >= d) sum += other;
    }
    if (slot < s.slots_each) {
      offsets[slot] = before + sum - count;
      counts[slot] = count;
      if (slot_rows && count > 0) atomicAdd(reinterpret_cast<unsigned long long*>(slot_rows + slot), static_cast<unsigned long long>(count));
      cursor[slot] = s.pitch > 0 ? static_cast<int>(slot * s.pitch) : before + sum - count;
    }
    before += __shfl_sync(~0u, sum, 31);
  }
  if (lane == 0) offsets[s.slots_each] = before;
}

// The first row of x of a source's tokens.
__device__ inline std::int64_t first_row_of(const ExchangeShared& s, const DispatchCall& c, int source) {
  return source == s.rank ? (s.ranks - 1) * s.tokens + max(c.staged, std::int64_t{0}) : peer_index(source, s.rank) * s.tokens;
}

// Few choices, which stay in registers: a slot's counter gives a choice its place when it counts it. False: too many.
__device__ bool sort_few(const ExchangeShared& s, const DispatchCall& c, Scratch& scratch) {
  constexpr int kHeld = 2;  // fours of a thread
  int fours = 0;
  for (int r = 0; r < s.ranks; ++r) fours += (scratch.arrived[r] * s.top_k + 3) / 4;
  if (fours > kHeld * kExchangeThreads) return false;
  int source[kHeld], at[kHeld];
  int4 slots[kHeld], places[kHeld];
#pragma unroll
  for (int h = 0; h < kHeld; ++h) {
    at[h] = static_cast<int>(threadIdx.x) + h * kExchangeThreads;
    for (source[h] = 0; source[h] < s.ranks; ++source[h]) {
      const int of = (scratch.arrived[source[h]] * s.top_k + 3) / 4;
      if (at[h] < of) break;
      at[h] -= of;
    }
    at[h] *= 4;
    if (source[h] < s.ranks) slots[h] = __ldcg(reinterpret_cast<const int4*>(in_window<int>(s, s.rank, s.at.slots) + source[h] * s.at.tickets + at[h]));
  }
  const int first = s.rank * s.slots_each;
  const auto count = [&](int choice, int total, int& slot, int& place) {
    slot -= first;
    if (choice >= total || static_cast<unsigned>(slot) >= static_cast<unsigned>(s.slots_each)) slot = -1;
    if (slot >= 0) place = atomicAdd(&scratch.cursor[slot], 1);
  };
#pragma unroll
  for (int h = 0; h < kHeld; ++h) {
    if (source[h] >= s.ranks) continue;
    const int total = scratch.arrived[source[h]] * s.top_k;
    count(at[h], total, slots[h].x, places[h].x);
    count(at[h] + 1, total, slots[h].y, places[h].y);
    count(at[h] + 2, total, slots[h].z, places[h].z);
    count(at[h] + 3, total, slots[h].w, places[h].w);
  }
  __syncthreads();
  place_slots(s, c.slot_rows, scratch.cursor);
  __syncthreads();
  int* const row_token = in_own<int>(s, s.at.row_token);
  const auto place = [&](int slot, int& row, std::int64_t token) {
    row = slot < 0 ? -1 : row + scratch.cursor[slot];
    if (s.in_place && row >= 0) row_token[row] = static_cast<int>(token);
  };
#pragma unroll
  for (int h = 0; h < kHeld; ++h) {
    if (source[h] >= s.ranks) continue;
    const std::int64_t from = first_row_of(s, c, source[h]);
    place(slots[h].x, places[h].x, from + at[h] / s.top_k);
    place(slots[h].y, places[h].y, from + (at[h] + 1) / s.top_k);
    place(slots[h].z, places[h].z, from + (at[h] + 2) / s.top_k);
    place(slots[h].w, places[h].w, from + (at[h] + 3) / s.top_k);
    *reinterpret_cast<int4*>(in_own<int>(s, s.at.position) + source[h] * s.at.tickets + at[h]) = places[h];
  }
  return true;
}

__device__ void sort_many(const ExchangeShared& s, const DispatchCall& c, Scratch& scratch) {
  for (int source = 0; source < s.ranks; ++source) {
    for_choices(s, source, scratch.arrived[source], [&](int, const int(&slots)[4]) {
#pragma unroll
      for (const int slot : slots) {
        if (slot >= 0) atomicAdd(&scratch.cursor[slot], 1);
      }
    });
  }
  __syncthreads();
  place_slots(s, c.slot_rows, scratch.cursor);
  __syncthreads();
  int* const row_token = in_own<int>(s, s.at.row_token);
  for (int source = 0; source < s.ranks; ++source) {
    const std::int64_t first = first_row_of(s, c, source);
    int* const position = in_own<int>(s, s.at.position) + source * s.at.tickets;
    for_choices(s, source, scratch.arrived[source], [&](int choice, const int(&slots)[4]) {
      int rows[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) rows[j] = slots[j] < 0 ? -1 : atomicAdd(&scratch.cursor[slots[j]], 1);
      *reinterpret_cast<int4*>(position + choice) = {rows[0], rows[1], rows[2], rows[3]};
#pragma unroll
      for (int j = 0; j < 4 && s.in_place; ++j) {
        if (rows[j] >= 0) row_token[rows[j]] = static_cast<int>(first + (choice + j) / s.top_k);
      }
    });
  }
}

// Block 0: which result belongs to which choice.
__device__ void sort_tickets(const ExchangeShared& s, const DispatchCall& c, std::uint32_t epoch, Scratch& scratch) {
  for (int i = threadIdx.x; i < s.slots_each; i += blockDim.x) scratch.cursor[i] = 0;
  await_tickets(s, c, epoch, scratch.arrived);
  if (!sort_few(s, c, scratch)) sort_many(s, c, scratch);
  if (static_cast<int>(threadIdx.x) < s.ranks) state_of(s).arrived[threadIdx.x] = scratch.arrived[threadIdx.x];
  __syncthreads();
  if (threadIdx.x == 0) store_release(&state_of(s).sorted, epoch);
}

__device__ inline void await_chunk(const ExchangeShared& s, int layer, std::uint32_t epoch, int source, int chunk) {
  await(s, in_window<std::uint32_t>(s, s.rank, s.at.row_flags) + source * kChunks + chunk, epoch, {WaitSite::kRows, layer, source, chunk});
}

__device__ void await_all_rows(const ExchangeShared& s, const DispatchCall& c, std::uint32_t epoch, const int* arrived) {
  for (int i = threadIdx.x; i < s.ranks * kChunks; i += blockDim.x) {
    const int source = i / kChunks, chunk = i % kChunks;
    if (source != s.rank && chunk < chunks_of(arrived[source])) await_chunk(s, c.layer, epoch, source, chunk);
  }
}

// Writes a piece to its row of the groups.
template <class Piece>
__device__ inline void put_grouped(const ExchangeShared& s, int row, std::int64_t column, const Piece& piece) {
  std::byte* const to = in_own<std::byte>(s, s.at.grouped) + row * s.at.grouped_bytes;
  if constexpr (std::is_same_v<Piece, Fp8Piece>) {
    if (s.grouped_fp8) {
      *reinterpret_cast<uint4*>(to + column) = piece.codes;
      if (column % 128 == 0) in_own<float>(s, s.at.grouped_scales)[column / 128 * s.at.scale_stride + row] = piece.scale;
      return;
    }
  }
  put_wide(reinterpret_cast<__nv_bfloat16*>(to), column, s.hidden, piece);
}

// The rows of the results of each token of the chunk, when they have been sorted.
__device__ inline void find_results(const ExchangeShared& s, const DispatchCall& c, std::uint32_t epoch, int source, const Chunk& chunk, Scratch& scratch) {
  if (threadIdx.x == 0) await(s, &state_of(s).sorted, epoch, {WaitSite::kSort, c.layer, s.rank, 0});
  __syncthreads();
  const int* const position = in_own<int>(s, s.at.position) + source * s.at.tickets + static_cast<std::int64_t>(chunk.begin) * s.top_k;
  for (int i = threadIdx.x; i < chunk.count; i += blockDim.x) scratch.found[i] = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < chunk.count * s.top_k; i += blockDim.x) {
    const int row = __ldcg(position + i), token = i / s.top_k;
    if (row >= 0) scratch.list[token * s.top_k + atomicAdd(&scratch.found[token], 1)] = row;
  }
  __syncthreads();
}

// A chunk's rows by way of shared memory; they lie in records there too. The first are loaded before their places are known.
template <class Source>
__device__ void group_staged(const ExchangeShared& s, const DispatchCall& c, std::uint32_t epoch, int source, const Chunk& chunk, Scratch& scratch) {
  using Piece = decltype(encode(Source{}));
  extern __shared__ __align__(128) std::byte staged[];
  const auto to_record = [&](int row, std::int64_t column, const Piece& piece) {
    if (column < s.hidden) put_record(staged + row * s.at.record_bytes, s.at.codes_bytes, column, piece);
  };
  for (int first = 0; first < chunk.count; first += s.staged_rows) {
    const int rows = min(s.staged_rows, chunk.count - first), begin = chunk.begin + first;
    ptx::store_wait_read<0>();
    __syncthreads();
    if (source == s.rank) {
      const bool wide = aligned(c.x.data, c.x.stride * 2);
      for_pieces<Source>(
          rows, s.hidden,
          [&](int row, std::int64_t column, Source& from) { load_source(row_of_x(c, begin + row), column, s.hidden, wide, from); },
          [&](int row, std::int64_t column, const Source& from) { to_record(row, column, encode(from)); });
    } else {
      for_pieces<Piece>(
          rows, s.hidden,
          [&](int row, std::int64_t column, Piece& piece) {
            if (column < s.hidden) get_record(record_at(s, s.rank, source, begin + row), s.at.codes_bytes, column, piece);
          },
          to_record);
    }
    ptx::fence_async_shared();
    __syncthreads();
    if (first == 0) find_results(s, c, epoch, source, chunk, scratch);
    for (int i = threadIdx.x; i < rows * s.top_k; i += blockDim.x) {
      const int row = i / s.top_k, token = first + row;
      if (i % s.top_k >= scratch.found[token]) continue;
      std::byte* const to = in_own<std::byte>(s, s.at.grouped) + scratch.list[token * s.top_k + i % s.top_k] * s.at.grouped_bytes;
      ptx::store_bytes(to, ptx::shared_address(staged + row * s.at.record_bytes), static_cast<std::uint32_t>(s.at.grouped_bytes));
    }
    ptx::store_commit();
    if (!s.grouped_fp8) continue;
    const int scales = static_cast<int>((s.hidden + 127) / 128), each = scales * s.top_k;
    for (int i = threadIdx.x; i < rows * each; i += blockDim.x) {
      const int row = i / each, nth = i % s.top_k, scale = i % each / s.top_k, token = first + row;
      if (nth >= scratch.found[token]) continue;
      in_own<float>(s, s.at.grouped_scales)[scale * s.at.scale_stride + scratch.list[token * s.top_k + nth]] =
          reinterpret_cast<const float*>(staged + row * s.at.record_bytes + s.at.codes_bytes)[scale];
    }
  }
}

template <class Source>
__device__ void group_chunk(const ExchangeShared& s, const DispatchCall& c, std::uint32_t epoch, int source, int number, Scratch& scratch) {
  using Piece = decltype(encode(Source{}));
  const Chunk chunk = chunk_at(scratch.arrived[source], number);
  if (source != s.rank && threadIdx.x == 0) await_chunk(s, c.layer, epoch, source, number);
  if constexpr (kBulkCopies) {
    if (s.staged_rows > 0) {
      group_staged<Source>(s, c, epoch, source, chunk, scratch);
      return;
    }
  }
  find_results(s, c, epoch, source, chunk, scratch);
  const auto put_all = [&](int token, std::int64_t column, const Piece& piece) {
    if (column >= s.hidden) return;
    for (int i = 0; i < scratch.found[token]; ++i) put_grouped(s, scratch.list[token * s.top_k + i], column, piece);
  };
  if (source == s.rank) {
    const bool wide = aligned(c.x.data, c.x.stride * 2);
    for_pieces<Source>(
        chunk.count, s.hidden,
        [&](int row, std::int64_t column, Source& from) { load_source(row_of_x(c, chunk.begin + row), column, s.hidden, wide, from); },
        [&](int row, std::int64_t column, const Source& from) { put_all(row, column, encode(from)); });
    return;
  }
  for_pieces<Piece>(
      chunk.count, s.hidden,
      [&](int row, std::int64_t column, Piece& piece) {
        if (column < s.hidden) get_record(record_at(s, s.rank, source, chunk.begin + row), s.at.codes_bytes, column, piece);
      },
      put_all);
}

template <class Source>
__device__ void group_rows(const ExchangeShared& s, const DispatchCall& c, std::uint32_t epoch, Scratch& scratch) {
  __syncthreads();
  if (static_cast<int>(threadIdx.x) < s.ranks) {
    scratch.arrived[threadIdx.x] = max(await_count(s, c, epoch, threadIdx.x), 0);
  }
  __syncthreads();
  const int own = static_cast<int>(chunks_of(scratch.arrived[s.rank])), peers = s.ranks - 1;
  int most = 0;
  for (int r = 0; r < s.ranks; ++r) most = max(most, r == s.rank ? 0 : static_cast<int>(chunks_of(scratch.arrived[r])));
  for (int work = take_work(s); work < own + most * peers; work = take_work(s)) {
    const int source = work < own ? s.rank : (s.rank + 1 + (work - own) % peers) % s.ranks;
    const int chunk = work < own ? work : (work - own) / peers;
    if (chunk < chunks_of(scratch.arrived[source])) group_chunk<Source>(s, c, epoch, source, chunk, scratch);
  }
  if constexpr (kBulkCopies) ptx::store_wait();
}

template <class Source>
__global__ void __launch_bounds__(kExchangeThreads, kExchangeBlocksEach)
    dispatch_kernel(const __grid_constant__ ExchangeShared s, const __grid_constant__ DispatchCall c) {
  __shared__ Scratch scratch;
  const std::uint32_t epoch = epoch_of(s);
  const bool both = c.send && c.receive;
  if (c.send) {
    const Teller mine = teller(both);
    if (mine.index >= 0) send_tickets(s, c, epoch, mine);
    const int sender = sender_index(both);
    if (sender >= 0) send_rows<Source>(s, c, epoch, sender, senders(both), scratch);
  }
  if (c.receive) {
    if (blockIdx.x == 0) {
      sort_tickets(s, c, epoch, scratch);
      if (s.in_place) await_all_rows(s, c, epoch, scratch.arrived);
    }
    if (!s.in_place) group_rows<Source>(s, c, epoch, scratch);
  }
  if (!s.in_place) finish(s, false);
}

}  // namespace

int staged_rows(const ops::Exchange::Options& options, const ExchangeLayout& layout, int capability) {
  const bool as_they_travelled = options.output == (options.fp8 ? ops::Exchange::Output::kGroupedFp8 : ops::Exchange::Output::kGrouped);
  return capability >= 90 && as_they_travelled ? static_cast<int>(std::min<std::int64_t>(kStagedBytes / layout.record_bytes, kStagedChoices)) : 0;
}

void launch_dispatch(const ExchangeShared& shared, const DispatchCall& call, int blocks, cudaStream_t queue) {
  const auto kernel = shared.fp8 ? dispatch_kernel<Fp8Source> : dispatch_kernel<WidePiece>;
  const auto staged = static_cast<std::size_t>(shared.staged_rows * shared.at.record_bytes);
  kernel<<<static_cast<unsigned>(blocks), kExchangeThreads, staged, queue>>>(shared, call);
}

int dispatch_blocks_each(bool fp8, std::int64_t staged_bytes) {
  const auto kernel = fp8 ? dispatch_kernel<Fp8Source> : dispatch_kernel<WidePiece>;
  if (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kStagedBytes)) != cudaSuccess) return 0;
  int blocks = 0;
  cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, kExchangeThreads, static_cast<std::size_t>(staged_bytes));
  return blocks;
}

}  // namespace braid::cuda
