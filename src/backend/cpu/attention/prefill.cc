// SPDX-License-Identifier: Apache-2.0
// Prefill attention: a task is a block of query rows of one sequence and kv head (the heads that
// share it are stacked, token by token). It visits the keys in blocks of 64: packs keys and values
// into panels, then scores, softmax and weighted values for all its rows.
//
// Rows never mix, a row's blocks come in order, and keys it does not see weigh exactly zero, so a
// row's result does not depend on which task or tile it falls into. The keys that a later row sees
// begin and end no earlier: those who see something of a block follow each other.
#include "backend/cpu/attention/attention.h"
#include "backend/cpu/attention/fp8_rows.h"
#include "backend/cpu/attention/key_rows.h"
#include "backend/cpu/attention/prefill_tile.h"
#include "backend/cpu/simd/tier.h"
#include "backend/cpu/stream.h"
#include "ops/reference.h"

namespace braid::cpu {
namespace {

using Args = ops::AttentionPrefill::Args;
using Sequence = ops::AttentionPrefill::Sequence;
static_assert(kBlockKeys == ops::AttentionPrefill::kKeyBlock);

constexpr int kTaskRows = 256;  // at most; packing a block of keys is shared by so many
constexpr int kFewestTaskRows = 64;
constexpr float kLowest = -1e30f;  // below every score; finite, so that differences are

int rounded_up(int n, int to) {
  return (n + to - 1) / to * to;
}

// One task's memory, carved from a worker's scratch.
struct Work {
  int units;   // depth of queries and keys
  int v_cols;  // columns of values, whole panels
  std::byte *q, *keys, *values, *weights;
  std::uint16_t* decoded;  // keys or values of an FP8 cache
  float *scores, *out, *max, *sum, *keep;
  int* first;  // keys of the block at hand that a row sees: [first, end)
  int* end;

  static std::size_t layout(const ops::AttentionShape& s, int pair, std::byte* base, Work& w) {
    w.units = (s.qk_dim + pair - 1) / pair;
    w.v_cols = rounded_up(s.v_dim, kPanel);
    const auto units = static_cast<std::size_t>(w.units);
    const auto v_cols = static_cast<std::size_t>(w.v_cols);
    std::size_t at = 0;
    const auto take = [&](std::size_t bytes) {
      std::byte* p = base + at;
      at += (bytes + 63) / 64 * 64;
      return p;
    };
    const auto floats = [&](std::size_t n) { return reinterpret_cast<float*>(take(4 * n)); };
    w.q = take(kTaskRows * units * 4);
    w.keys = take(kBlockKeys * units * 4);
    w.values = take(kBlockKeys / pair * v_cols * 4);
    w.weights = take(kTaskRows * kBlockKeys / pair * 4);
    w.decoded = reinterpret_cast<std::uint16_t*>(take(static_cast<std::size_t>(2 * kBlockKeys * decoded_stride(std::max(s.qk_dim, s.v_dim)))));
    w.scores = floats(kTaskRows * kBlockKeys);
    w.out = floats(kTaskRows * v_cols);
    w.max = floats(kTaskRows);
    w.sum = floats(kTaskRows);
    w.keep = floats(kTaskRows);
    w.first = reinterpret_cast<int*>(take(4 * kTaskRows));
    w.end = reinterpret_cast<int*>(take(4 * kTaskRows));
    return at;
  }
};

struct Task {
  const Sequence* sequence;
  int kv_head;
  std::int64_t first;  // stacked row: token * shared + head of the group
  int rows;
};

int shared_by(const Args& a) {
  return a.shape.heads / a.shape.kv_heads;
}

std::int64_t row_blocks(const Args& a, const Sequence& s, int task_rows) {
  return (s.rows * shared_by(a) + task_rows - 1) / task_rows;
}

std::int64_t count_tasks(const Args& a, int task_rows) {
  std::int64_t tasks = 0;
  for (const Sequence& s : a.sequences) tasks += row_blocks(a, s, task_rows) * a.shape.kv_heads;
  return tasks;
}

// Large tasks, as long as there are enough of them to keep all workers busy.
int choose_task_rows(const Args& a, int workers) {
  int rows = kTaskRows;
  while (rows > kFewestTaskRows && count_tasks(a, rows) < 4 * workers) rows /= 2;
  return rows;
}

// Task `index`; the last rows of a sequence, which see most keys, come first.
Task task_at(const Args& a, std::int64_t index, int task_rows) {
  std::size_t i = 0;
  for (;; ++i) {
    const std::int64_t here = row_blocks(a, a.sequences[i], task_rows) * a.shape.kv_heads;
    if (index < here) break;
    index -= here;
  }
  const Sequence& s = a.sequences[i];
  const std::int64_t block = row_blocks(a, s, task_rows) - 1 - index / a.shape.kv_heads;
  const std::int64_t first = block * task_rows;
  const auto rows = std::min<std::int64_t>(task_rows, s.rows * shared_by(a) - first);
  return {&s, static_cast<int>(index % a.shape.kv_heads), first, static_cast<int>(rows)};
}

template <const PrefillTier& T>
class TaskRun {
 public:
  TaskRun(const Args& a, const Task& task, const Work& w)
      : a_(a), s_(a.shape), task_(task), w_(w), shared_(shared_by(a)) {}

  void run() {
    load();
    const Sequence& q = *task_.sequence;
    const std::int64_t end = std::min(q.key_end, position(task_.rows - 1) + 1);
    const std::int64_t seen = s_.first_key(position(0)) / kBlockKeys * kBlockKeys;
    for (std::int64_t first = std::max(q.key_first, seen); first < end;) {
      const std::int64_t next = (first / kBlockKeys + 1) * kBlockKeys;
      visit(first, static_cast<int>(std::min(next, end) - first));
      first = next;
    }
    a_.last_segment ? write() : save();
  }

 private:
  std::int64_t token(int i) const { return (task_.first + i) / shared_; }
  int head(int i) const {
    return task_.kv_head * shared_ + static_cast<int>((task_.first + i) % shared_);
  }
  std::int64_t position(int i) const { return task_.sequence->position + token(i); }
  std::int64_t row(int i) const { return task_.sequence->first_row + token(i); }
  float* state(int i) const { return a_.state + (row(i) * s_.heads + head(i)) * (s_.v_dim + 2); }
  float* out(int i) const { return w_.out + static_cast<std::int64_t>(i) * w_.v_cols; }

  void load() {
    const bool bf16 = a_.q.dtype == DType::kBF16;
    for (int i = 0; i < task_.rows; ++i) {
      const auto at = static_cast<std::size_t>(head(i)) * static_cast<std::size_t>(s_.qk_dim);
      T.pack_row(a_.q.row(row(i)) + at * size_of(a_.q.dtype),
                 bf16,
                 s_.qk_dim,
                 w_.q + static_cast<std::size_t>(i) * static_cast<std::size_t>(w_.units) * 4,
                 w_.units);
      std::fill(out(i), out(i) + w_.v_cols, 0.0f);
      if (a_.first_segment) {
        start(i);
        continue;
      }
      w_.max[i] = state(i)[s_.v_dim];
      w_.sum[i] = state(i)[s_.v_dim + 1];
      std::copy(state(i), state(i) + s_.v_dim, out(i));
    }
  }

  // A sink is the first key that is seen, one without a value.
  void start(int i) {
    w_.max[i] = a_.sinks ? a_.sinks[head(i)] / s_.scale : kLowest;
    w_.sum[i] = a_.sinks ? 1.0f : 0.0f;
  }

  void visit(std::int64_t first, int count) {
    pack(first, count);
    int start = task_.rows;  // rows before it see nothing of this block
    int stop = 0;            // nor do those from here on
    for (int i = 0; i < task_.rows; ++i) {
      const auto within = [&](std::int64_t key) {
        return static_cast<int>(std::clamp<std::int64_t>(key - first, 0, count));
      };
      w_.first[i] = within(s_.first_key(position(i)));
      w_.end[i] = within(position(i) + 1);
      if (w_.end[i] <= w_.first[i]) continue;
      start = std::min(start, i);
      stop = i + 1;
    }
    if (start >= stop) return;
    start = start / kTileRows * kTileRows;
    score(start, stop);
    const TileSoftmax softmax{w_.scores + start * kBlockKeys,
                              stop - start,
                              w_.first + start,
                              w_.end + start,
                              s_.scale,
                              w_.max + start,
                              w_.sum + start,
                              w_.keep + start,
                              w_.weights + start * (kBlockKeys / T.pair * 4)};
    T.softmax(softmax);
    add_values(start, stop);
  }

  void pack(std::int64_t first, int count) {
    const Sequence& q = *task_.sequence;
    const void* rows[kBlockKeys];
    const auto gather = [&](const ops::Rows& from, int dim) {
      KeyRows(from, task_.kv_head, q.table, a_.block_size, q.key_first, q.key_row).gather(first, count, rows);
      if (from.dtype == DType::kF8E4M3) decode_rows(from, task_.kv_head, dim, count, T.decode_fp8, rows, w_.decoded);
    };
    gather(a_.k, s_.qk_dim);
    T.pack_keys(rows, count, a_.k.dtype != DType::kF32, s_.qk_dim, w_.units, w_.keys);
    gather(a_.v, s_.v_dim);
    T.pack_values(rows, count, a_.v.dtype != DType::kF32, s_.v_dim, w_.values);
  }

  // Where the keys end that rows of the tile see.
  int tile_end(int tile, int stop) const {
    return w_.end[std::min(tile + kTileRows, stop) - 1];
  }

  // Of rows [start, stop).
  void score(int start, int stop) {
    for (int panel = 0; panel * kPanel < kBlockKeys; ++panel) {
      int from = start;
      while (from < stop && tile_end(from, stop) <= panel * kPanel) from += kTileRows;
      if (from >= stop) return;
      const auto unit = static_cast<std::size_t>(w_.units) * 4;
      T.multiply({w_.q + static_cast<std::size_t>(from) * unit,
                  w_.units,
                  stop - from,
                  w_.units,
                  w_.keys + static_cast<std::size_t>(panel * kPanel) * unit,
                  w_.scores + from * kBlockKeys + panel * kPanel,
                  kBlockKeys,
                  nullptr});
    }
  }

  void add_values(int start, int stop) {
    const int units = kBlockKeys / T.pair;
    for (int from = start; from < stop;) {
      const int depth = (tile_end(from, stop) + T.pair - 1) / T.pair;
      int end = from;
      while (end < stop && (tile_end(end, stop) + T.pair - 1) / T.pair == depth)
        end += kTileRows;
      end = std::min(end, stop);
      for (int column = 0; column < w_.v_cols; column += kPanel) {
        T.multiply({w_.weights + from * units * 4,
                    units,
                    end - from,
                    depth,
                    w_.values + column * units * 4,
                    out(from) + column,
                    w_.v_cols,
                    w_.keep + from});
      }
      from = end;
    }
  }

  void write() {
    for (int i = 0; i < task_.rows; ++i) {
      const auto at = static_cast<std::size_t>(head(i)) * static_cast<std::size_t>(s_.v_dim);
      T.finish(out(i),
               w_.sum[i],
               s_.v_dim,
               a_.out.row(row(i)) + at * size_of(a_.out.dtype),
               a_.out.dtype == DType::kBF16);
    }
  }

  void save() {
    for (int i = 0; i < task_.rows; ++i) {
      std::copy(out(i), out(i) + s_.v_dim, state(i));
      state(i)[s_.v_dim] = w_.max[i];
      state(i)[s_.v_dim + 1] = w_.sum[i];
    }
  }

  const Args& a_;
  const ops::AttentionShape& s_;
  const Task& task_;
  const Work& w_;
  const int shared_;
};

template <const PrefillTier& T>
void prefill(const Args& a, braid::Stream& s) {
  Stream& cpu = stream(s);
  double flops = 0;
  for (const Sequence& q : a.sequences) {
    const std::int64_t first = std::max(q.key_first, a.shape.first_key(q.position));
    flops += static_cast<double>(q.rows * std::max<std::int64_t>(0, q.key_end - first)) * a.shape.heads *
             (a.shape.qk_dim + a.shape.v_dim);
  }
  const int task_rows = choose_task_rows(a, cpu.workers());
  const std::int64_t tasks = count_tasks(a, task_rows);
  if (tasks == 0) return;
  cpu.queue(tasks, flops / 100 / static_cast<double>(tasks), [&](std::int64_t index, int worker) {
    Work w;
    const std::size_t bytes = Work::layout(a.shape, T.pair, nullptr, w);
    Work::layout(a.shape, T.pair, cpu.scratch(worker, bytes), w);
    const Task task = task_at(a, index, task_rows);
    TaskRun<T>(a, task, w).run();
  });
}

template <const Tier& T>
std::string supports(const ops::AttentionPrefill::Problem& p, const Capabilities& caps) {
  const bool narrow = p.q == DType::kBF16 && p.cache != DType::kF32;
  if (&T == &kAvx512Bf16 && !narrow) return "needs bfloat16 queries and a bfloat16 or FP8 cache";
  return missing(caps, T);
}

template <const Tier& T, const PrefillTier& P>
ops::Kernel<ops::AttentionPrefill> entry() {
  return {T.name, T.rank, supports<T>, prefill<P>, nullptr};
}

}  // namespace

std::vector<ops::Kernel<ops::AttentionPrefill>> attention_prefill_kernels() {
  return {
    ops::reference::kAttentionPrefill, entry<kScalar, kScalarPrefill>(),
#if defined(__x86_64__)
        entry<kAvx2, kAvx2Prefill>(), entry<kAvx512, kAvx512Prefill>(),
        entry<kAvx512Bf16, kAvx512Bf16Prefill>(),
#endif
  };
}

}  // namespace braid::cpu
