// SPDX-License-Identifier: Apache-2.0
// Keys and values of an FP8 cache as bfloat16 rows behind each other, for prefill kernels on tensor cores: they read
// every key once for each 128 queries, the cache is read once.
#pragma once

#include <vector>

#include "backend/cuda/stream.h"
#include "ops/attention.h"

namespace braid::cuda {

class ExpandedRows {
 public:
  // Enqueues the copy into the stream's scratch. `a` has a kF8E4M3 cache and heads of a multiple of 8 elements.
  ExpandedRows(const ops::AttentionPrefill::Args& a, Stream& stream);

  // The call with the copies; valid until another takes the scratch.
  const ops::AttentionPrefill::Args& args() const { return args_; }

 private:
  ops::AttentionPrefill::Args args_;
  std::vector<ops::AttentionPrefill::Sequence> sequences_;
};

}  // namespace braid::cuda
