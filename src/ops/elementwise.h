// SPDX-License-Identifier: Apache-2.0
// The small row-wise operations of a decoder layer. All are batch-invariant: a row depends on
// itself only. Inputs are float32 unless said otherwise.
#pragma once

#include <span>

#include "ops/fp8_row.h"
#include "ops/kernel.h"

namespace braid::ops {

// out[t] = table[ids[t]] as float32.
struct Embed {
  static constexpr const char* kName = "embed";
  struct Problem {
    DType table = DType::kBF16;
  };
  struct Args {
    const void* table = nullptr;  // [vocabulary, cols] kBF16 or kF32
    DType dtype = DType::kBF16;
    std::span<const std::int32_t> ids;
    Matrix<float> out;  // [ids, cols]
  };
  using Prepare = std::nullptr_t;
};

// out = x / sqrt(mean(x^2) + eps) * weight; out is kF32 or kBF16, and out2 (kF32) takes the same
// values unrounded when given (the router reads those).
struct RmsNorm {
  static constexpr const char* kName = "rms_norm";
  struct Problem {
    DType out = DType::kBF16;
    std::int64_t cols = 0;
  };
  struct Args {
    Matrix<const float> x;
    const float* weight = nullptr;  // [cols]
    float eps = 1e-6f;
    Activations out;
    Matrix<float> out2;  // data == nullptr: not wanted
  };
  using Prepare = std::nullptr_t;
};

// Rotary embedding of pairs: (2i, 2i+1) when interleaved (DeepSeek), (i, i + dim/2) otherwise.
// cos and sin are [positions, dim / 2].
struct RopeTable {
  const float* cos = nullptr;
  const float* sin = nullptr;
  int dim = 0;
  bool interleaved = false;
};

// MLA keys: row t of `latent` is [kv_lora | rope]. Writes [rms_norm(kv_lora) | rope(k)] to cache
// row slots[t], a kF8E4M3 one as Fp8Row::latent. A slot of -1 is skipped.
struct MlaStore {
  static constexpr const char* kName = "mla_store";
  struct Problem {
    DType cache = DType::kBF16;
  };
  struct Args {
    Matrix<const float> latent;     // [tokens, kv_lora + rope]
    const float* norm_weight = nullptr;  // [kv_lora]
    float eps = 1e-6f;
    RopeTable rope;
    const std::int32_t* positions = nullptr;
    const std::int32_t* slots = nullptr;
    Activations cache;              // [cache rows, kv_lora + rope]; kF8E4M3: [cache rows, bytes]
  };
  using Prepare = std::nullptr_t;
};

// MLA queries: row t of q is [heads, nope + rope]. Copies the nope part of head h to
// nope.row(t) + h * nope_head_stride and the rotated rope part to rope_out.row(t) +
// h * rope_head_stride, as kBF16 or kF32. The two may interleave in one buffer.
struct MlaQuery {
  static constexpr const char* kName = "mla_query";
  struct Problem {
    DType out = DType::kBF16;
  };
  struct Args {
    Matrix<const float> q;
    int heads = 0;
    int nope_dim = 0;
    RopeTable rope;
    const std::int32_t* positions = nullptr;
    Activations nope;
    std::int64_t nope_head_stride = 0;
    Activations rope_out;
    std::int64_t rope_head_stride = 0;
  };
  using Prepare = std::nullptr_t;
};

// Latent rows of keys, from the cache to where they are expanded: row r of `latent` becomes cache row
// rows[r], [kv_lora | rope], and its rope part also goes to keys.row(r) + h * key_head_stride for every
// head h.
struct MlaGather {
  static constexpr const char* kName = "mla_gather";
  struct Problem {
    DType cache = DType::kBF16;
  };
  struct Args {
    Activations cache;                   // [cache rows, kv_lora + rope], or rows as Fp8Row::latent
    const std::int32_t* rows = nullptr;  // [keys]
    Activations latent;                  // [keys, kv_lora + rope]; dtype of the cache unless that is kF8E4M3
    Activations keys;                    // the first head's rope columns on, dtype of `latent`
    int heads = 0;
    std::int64_t key_head_stride = 0;    // elements
    int rope_dim = 0;
  };
  using Prepare = std::nullptr_t;
};

// Grouped-query attention: row t of qkv is [heads * dim | kv_heads * dim | kv_heads * dim].
// Optional per-head RMSNorm of q and k (before the rotation; with equal weights that is the same as
// after it), rotation of the first rope.dim elements, q times q_scales[position], q to `q`, k and v to cache row slots[t] laid out [kv_heads * dim of k | same of v],
// a kF8E4M3 one as Fp8Row::keys_and_values.
struct GqaPrepare {
  static constexpr const char* kName = "gqa_prepare";
  struct Problem {
    DType out = DType::kBF16;
    DType cache = DType::kBF16;
  };
  struct Args {
    Matrix<const float> qkv;
    int heads = 0;
    int kv_heads = 0;
    int dim = 0;
    const float* q_norm = nullptr;  // [dim] or null
    const float* k_norm = nullptr;
    float eps = 1e-6f;
    RopeTable rope;
    const std::int32_t* positions = nullptr;
    const std::int32_t* slots = nullptr;
    Activations q;      // [tokens, heads * dim]
    Activations cache;  // [cache rows, 2 * kv_heads * dim]; kF8E4M3: [cache rows, bytes]
    const float* q_scales = nullptr;  // [positions]; null: all 1
  };
  using Prepare = std::nullptr_t;
};

}  // namespace braid::ops
