// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/reference.h"
#include "ops/reference/element.h"

namespace braid::ops::reference {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// The running softmax of one query row and head.
struct Softmax {
  float max = kNever;
  float sum = 0;
  std::vector<float> out;

  // A sink is the first key that is seen, one without a value.
  void start(const float* sinks, int head, int v_dim) {
    out.assign(static_cast<std::size_t>(v_dim), 0.0f);
    if (!sinks) return;
    max = sinks[head];
    sum = 1;
  }

  // Takes in one block of scored keys; value(j, i) is element i of key j's value.
  template <class Value>
  void add(const std::vector<float>& scores, const Value& value) {
    if (scores.empty()) return;
    const float top = std::max(max, *std::max_element(scores.begin(), scores.end()));
    const float keep = std::exp(max - top);
    sum *= keep;
    for (auto& o : out) o *= keep;
    for (std::size_t j = 0; j < scores.size(); ++j) {
      const float p = std::exp(scores[j] - top);
      sum += p;
      for (std::size_t i = 0; i < out.size(); ++i) out[i] += p * value(j, i);
    }
    max = top;
  }
};

struct Head {
  const Rows* rows;
  int kv_head;
  float at(std::int64_t row, std::int64_t i) const {
    const std::int64_t at = row * rows->row_stride, inside = kv_head * rows->head_stride + i;
    if (rows->dtype != DType::kF8E4M3) return load(rows->base, rows->dtype, at + inside);
    return rows->fp8.at(static_cast<const std::byte*>(rows->base) + at, rows->first + inside);
  }
};

float score(const AttentionShape& s,
            const Activations& q,
            std::int64_t row,
            int head,
            const Head& k,
            std::int64_t key) {
  float sum = 0;
  for (int i = 0; i < s.qk_dim; ++i) {
    sum += load(q.row(row), q.dtype, head * s.qk_dim + i) * k.at(key, i);
  }
  return sum * s.scale;
}

void write(const AttentionShape& s,
           const Activations& out,
           std::int64_t row,
           int head,
           const Softmax& softmax) {
  for (int i = 0; i < s.v_dim; ++i) {
    store(out.row(row), out.dtype, head * s.v_dim + i, softmax.out[i] / softmax.sum);
  }
}

std::int64_t paged(const std::int32_t* table, int block_size, std::int64_t position) {
  return static_cast<std::int64_t>(table[position / block_size]) * block_size +
         position % block_size;
}

void decode(const AttentionDecode::Args& a, Stream&) {
  const AttentionShape& s = a.shape;
  for (std::size_t r = 0; r < a.rows.size(); ++r) {
    const auto row = static_cast<std::int64_t>(r);
    for (int h = 0; h < s.heads; ++h) {
      const int kv_head = h / (s.heads / s.kv_heads);
      const Head k{&a.k, kv_head};
      const Head v{&a.v, kv_head};
      std::vector<std::int64_t> keys;
      std::vector<float> scores;
      for (std::int64_t p = s.first_key(a.rows[r].context - 1); p < a.rows[r].context; ++p) {
        keys.push_back(paged(a.rows[r].table, a.block_size, p));
        scores.push_back(score(s, a.q, row, h, k, keys.back()));
      }
      Softmax softmax;
      softmax.start(a.sinks, h, s.v_dim);
      softmax.add(scores, [&](std::size_t j, std::size_t i) {
        return v.at(keys[j], static_cast<std::int64_t>(i));
      });
      write(s, a.out, row, h, softmax);
    }
  }
}

// One query row and head against the segment's keys, block by block.
void visit(const AttentionPrefill::Args& a,
           const AttentionPrefill::Sequence& q,
           std::int64_t i,
           int h,
           Softmax& softmax) {
  const AttentionShape& s = a.shape;
  const int kv_head = h / (s.heads / s.kv_heads);
  const Head k{&a.k, kv_head};
  const Head v{&a.v, kv_head};
  const std::int64_t end = std::min(q.key_end, q.position + i + 1);
  const std::int64_t begin = std::max(q.key_first, s.first_key(q.position + i));
  const auto key_row = [&](std::int64_t p) {
    return q.table ? paged(q.table, a.block_size, p) : q.key_row + p - q.key_first;
  };
  for (std::int64_t first = begin; first < end;) {
    const std::int64_t next = first / AttentionPrefill::kKeyBlock * AttentionPrefill::kKeyBlock +
                              AttentionPrefill::kKeyBlock;
    std::vector<float> scores;
    for (std::int64_t p = first; p < std::min(next, end); ++p) {
      scores.push_back(score(s, a.q, q.first_row + i, h, k, key_row(p)));
    }
    softmax.add(scores, [&](std::size_t j, std::size_t c) {
      return v.at(key_row(first + static_cast<std::int64_t>(j)), static_cast<std::int64_t>(c));
    });
    first = next;
  }
}

void prefill(const AttentionPrefill::Args& a, Stream&) {
  const AttentionShape& s = a.shape;
  for (const auto& q : a.sequences) {
    for (std::int64_t i = 0; i < q.rows; ++i) {
      for (int h = 0; h < s.heads; ++h) {
        const std::int64_t row = q.first_row + i;
        float* state = a.state ? a.state + (row * s.heads + h) * (s.v_dim + 2) : nullptr;
        Softmax softmax;
        softmax.start(a.sinks, h, s.v_dim);
        if (!a.first_segment) {
          softmax.out.assign(state, state + s.v_dim);
          softmax.max = state[s.v_dim];
          softmax.sum = state[s.v_dim + 1];
        }
        visit(a, q, i, h, softmax);
        if (a.last_segment) {
          write(s, a.out, row, h, softmax);
        } else {
          std::copy(softmax.out.begin(), softmax.out.end(), state);
          state[s.v_dim] = softmax.max;
          state[s.v_dim + 1] = softmax.sum;
        }
      }
    }
  }
}

}  // namespace

extern const Kernel<AttentionDecode> kAttentionDecode{
    "reference", 0, always<AttentionDecode::Problem>, decode, nullptr};
extern const Kernel<AttentionPrefill> kAttentionPrefill{
    "reference", 0, always<AttentionPrefill::Problem>, prefill, nullptr};

}  // namespace braid::ops::reference
