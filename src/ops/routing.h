// SPDX-License-Identifier: Apache-2.0
// Choosing experts, and summing what they gave back.
#pragma once

#include <span>

#include "ops/kernel.h"

namespace braid::ops {

enum class Scoring { kSoftmax, kSigmoid };
enum class GroupScore { kMax, kSumOfTopTwo };  // DeepSeek V2; V3

// From router logits to top_k experts and weights per token.
//   score = softmax or sigmoid of the logits; choice = score + bias
//   groups > 1: only experts of the topk_groups groups with the best group score take part
//   the top_k best by choice (ties: lower id first); weight = score, divided by the sum of the
//   chosen ones (+ 1e-20) when normalise, times scale.
// Ids of a token are in descending order of choice. With shared_gate the logits have one more column,
// and its sigmoid is the weight of the shared expert.
struct Route {
  static constexpr const char* kName = "route";
  struct Problem {
    int experts = 0;
    int top_k = 0;
    int groups = 1;
    int topk_groups = 1;
    Scoring scoring = Scoring::kSoftmax;
    GroupScore group_score = GroupScore::kMax;
    bool normalise = false;
    float scale = 1.0f;
    bool shared_gate = false;
    int logits() const { return experts + (shared_gate ? 1 : 0); }
  };
  struct Args {
    const Problem* problem = nullptr;
    Matrix<const float> logits;      // [tokens, problem->logits()]
    const float* bias = nullptr;     // [experts] or null
    std::int32_t* ids = nullptr;     // [tokens, top_k]
    float* weights = nullptr;        // [tokens, top_k]
    float* shared_weights = nullptr; // [tokens]; null without shared_gate
  };
  using Prepare = std::nullptr_t;
};

// A stable counting sort of (token, choice) pairs by expert: expert e owns rows [offsets[e],
// offsets[e + 1]), tokens in order, and choice j of token t is row slots[t, j]. With `shared` one more
// group follows, of all tokens, and every token has one more slot, of its weight in shared_weights.
struct Arrange {
  static constexpr const char* kName = "arrange";
  struct Problem {
    int experts = 0;
    int top_k = 0;
  };
  struct Args {
    std::int64_t tokens = 0;
    int experts = 0;
    int top_k = 0;
    bool shared = false;
    const std::int32_t* ids = nullptr;    // [tokens, top_k]
    const float* weights = nullptr;       // [tokens, top_k]
    std::int32_t* offsets = nullptr;      // [experts + 1], + 1 with shared
    std::int32_t* row_token = nullptr;    // [rows()] the token of each row
    std::int32_t* slots = nullptr;        // [tokens, per_token()]
    float* slot_weights = nullptr;        // [tokens, per_token()]
    const float* shared_weights = nullptr;  // [tokens]; null: all 1

    int per_token() const { return top_k + (shared ? 1 : 0); }
    std::int64_t rows() const { return tokens * per_token(); }
  };
  using Prepare = std::nullptr_t;
};

// out[to(t)] += sum over j of weights[t, j] * rows[slots[t, j]], in the order of j, for t < count.
// Result t has per_token entries, or with `starts` those from starts[t] to starts[t + 1]. Rows and out
// are float32 or bfloat16, each for itself; sums are float32 and rounded once.
struct Combine {
  static constexpr const char* kName = "combine";
  struct Problem {
    std::int64_t cols = 0;
  };
  // A matrix of either element type.
  struct Rows : Activations {
    Rows() = default;
    Rows(const Activations& a) : Activations(a) {}
    Rows(Matrix<float> m) : Activations{m.data, DType::kF32, m.rows, m.cols, m.stride} {}
    Rows(Matrix<const float> m) : Activations{const_cast<float*>(m.data), DType::kF32, m.rows, m.cols, m.stride} {}
    bool bf16() const { return dtype == DType::kBF16; }
  };
  struct Args {
    Rows rows;
    const std::int32_t* slots = nullptr;  // [tokens, per_token]
    const float* weights = nullptr;       // [tokens, per_token]
    int per_token = 0;
    Rows out;                             // [tokens, cols]
    const std::int32_t* starts = nullptr;    // [count + 1] or null
    const std::int32_t* out_rows = nullptr;  // [count] distinct rows of out; null: to(t) = t
    std::int64_t count = -1;                 // -1: out.rows
    bool accumulate = true;                  // false: out is overwritten

    std::int64_t results() const { return count < 0 ? out.rows : count; }
    std::int64_t first(std::int64_t t) const { return starts ? starts[t] : t * per_token; }
    int entries(std::int64_t t) const { return starts ? starts[t + 1] - starts[t] : per_token; }
    std::byte* to(std::int64_t t) const { return out.row(out_rows ? out_rows[t] : t); }
  };
  using Prepare = std::nullptr_t;
};

}  // namespace braid::ops
