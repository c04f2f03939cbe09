// SPDX-License-Identifier: Apache-2.0
// Attention over rows of keys and values that lie in pages (the KV cache) or contiguously.
// Scores, softmax and the output are accumulated in float32.
//
// A query sees the keys from AttentionShape::first_key() to its own. Sinks, where a model has them,
// are one logit a head that joins the denominator of the softmax and has no value.
//
// Batch-invariant: a query row's result depends only on that row, its keys and its position; not on
// other rows, on how a prompt was cut into chunks, or on the number of workers. To that end keys are
// visited in blocks that begin at multiples of 64 (prefill) or 256 (decode splits) of the absolute
// position.
#pragma once

#include <algorithm>
#include <bit>

#include "ops/fp8_row.h"
#include "ops/kernel.h"
#include "tensor/staging.h"

namespace braid::ops {

// Row p (a token position) of a sequence lies at
//   base + (table[p / block_size] * block_size + p % block_size) * row_stride   elements,
// or at base + (p - first) * row_stride when there is no table (contiguous rows).
struct Rows {
  const void* base = nullptr;
  DType dtype = DType::kBF16;
  std::int64_t row_stride = 0;   // elements
  std::int64_t head_stride = 0;  // elements from one kv head to the next inside a row
  Fp8Row fp8;                    // kF8E4M3: what lies at `base`, whose elements from `first` on are meant
  std::int64_t first = 0;
};

// The first key that the query at `position` sees; `window` and `chunk` as in AttentionShape.
inline std::int64_t first_key(std::int64_t position, int window, int chunk) {
  const std::int64_t of_window = window > 0 ? position + 1 - window : 0;
  const std::int64_t of_chunk = chunk > 0 ? position - position % chunk : 0;
  return std::max<std::int64_t>({0, of_window, of_chunk});
}

struct AttentionShape {
  int heads = 0;
  int kv_heads = 0;  // divides heads; 1 for absorbed MLA
  int qk_dim = 0;
  int v_dim = 0;
  float scale = 1.0f;
  int window = 0;      // > 0: of the keys a query sees the last so many, its own included
  int chunk = 0;       // > 0: positions are cut into chunks of so many, and a query sees keys of its own
  bool sinks = false;  // the call brings a logit for each head

  // The first key that the query at `position` sees.
  std::int64_t first_key(std::int64_t position) const { return ops::first_key(position, window, chunk); }
  bool sees_all() const { return window == 0 && chunk == 0; }
};

// One query row, at position context - 1 of its sequence, with the keys that it sees. Absorbed MLA: kv_heads 1, v the first
// v_dim elements of the same rows as k. Multi-token decode = several rows of one sequence.
struct AttentionDecode {
  static constexpr const char* kName = "attention_decode";
  struct Problem {
    DType q = DType::kBF16;
    DType cache = DType::kBF16;
    AttentionShape shape;
  };
  struct Row {
    const std::int32_t* table = nullptr;
    std::int32_t context = 0;  // keys up to its own, >= 1
  };
  struct Args {
    AttentionShape shape;
    Activations q;    // [rows, heads * qk_dim]
    Rows k;
    Rows v;
    int block_size = 16;
    Mirror<Row> rows;  // tables where kernels read them
    Activations out;  // [rows, heads * v_dim], dtype of q
    std::byte* scratch = nullptr;  // >= scratch_bytes()
    const float* sinks = nullptr;  // [heads]; null without shape.sinks
  };
  static constexpr int kSplit = 256;
  // For contexts of at most `longest` keys, as a power of two: it seldom changes from step to step.
  static std::int64_t most_splits(std::int64_t longest) {
    return static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>((longest + kSplit - 1) / kSplit)));
  }
  static std::size_t scratch_bytes(const AttentionShape& s, std::int64_t rows, std::int64_t longest) {
    const std::int64_t splits = most_splits(longest);
    return static_cast<std::size_t>(rows * splits * s.heads * (s.v_dim + 16)) * sizeof(float) + 4096;
  }
  using Prepare = std::nullptr_t;
};

// A chunk of queries of each sequence against a segment of its keys, of which each sees those that
// AttentionShape says. The running softmax (max, sum, unnormalised output) lives in `state` between
// segments, so that a long context can be visited piece by piece. Segments begin at multiples of 64.
struct AttentionPrefill {
  static constexpr const char* kName = "attention_prefill";
  struct Problem {
    DType q = DType::kBF16;
    DType cache = DType::kBF16;
    AttentionShape shape;
  };
  struct Sequence {
    std::int64_t first_row = 0;   // of this sequence's queries in q
    std::int64_t rows = 0;
    std::int64_t position = 0;    // of the first query
    std::int64_t key_first = 0;   // segment [key_first, key_end)
    std::int64_t key_end = 0;
    const std::int32_t* table = nullptr;  // null: contiguous rows starting at key_row
    std::int64_t key_row = 0;     // row in k and v of key_first when contiguous
  };
  struct Args {
    AttentionShape shape;
    Activations q;    // [rows, heads * qk_dim]
    Rows k;
    Rows v;
    int block_size = 16;
    Mirror<Sequence> sequences;
    Activations out;  // [rows, heads * v_dim], dtype of q; written when last_segment
    float* state = nullptr;  // [rows, heads, v_dim + 2] floats: output, max, sum
    bool first_segment = true;
    bool last_segment = true;
    const float* sinks = nullptr;  // [heads]; null without shape.sinks
  };
  static constexpr int kKeyBlock = 64;
  static std::size_t state_bytes(const AttentionShape& s, std::int64_t rows) {
    return static_cast<std::size_t>(rows * s.heads * (s.v_dim + 2)) * sizeof(float);
  }
  using Prepare = std::nullptr_t;
};

}  // namespace braid::ops
