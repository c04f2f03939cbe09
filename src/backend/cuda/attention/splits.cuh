// SPDX-License-Identifier: Apache-2.0
// Split-KV decoding: each query row's keys are cut at multiples of a length that the kernel fixes for a shape, so
// that a row's splits depend on its position alone; the splits' unnormalised outputs meet in the scratch and are
// merged in rising order.
#pragma once

#include "backend/cuda/attention/rows.cuh"

namespace braid::cuda {

struct DecodeTask {
  ops::AttentionShape shape;
  Activations q;
  ops::Rows k, v;
  int block_size;
  int split_keys;  // a multiple of AttentionDecode::kSplit
  int splits;      // of the longest row, or more
  bool whole_rows_done;  // the kernel of the splits has written the output of rows with one split
  const ops::AttentionDecode::Row* rows;
  Activations out;
  float* parts;
  const float* sinks;  // null: none

  // The keys of a split that a row sees.
  struct Keys {
    int begin, count;
  };
  __device__ int first_seen(std::int64_t row) const { return static_cast<int>(first_key(shape, rows[row].context - 1)); }
  __device__ Keys keys_of(std::int64_t row, int split) const {
    const int begin = max(split * split_keys, first_seen(row));
    return {begin, min(rows[row].context, (split + 1) * split_keys) - begin};
  }

  // [v_dim] output, maximum (of natural exponents), sum.
  __device__ float* part(std::int64_t row, int head, int split) const {
    return parts + ((row * shape.heads + head) * splits + split) * (shape.v_dim + 2);
  }
};

DecodeTask decode_task(const ops::AttentionDecode::Args& args, int split_keys = ops::AttentionDecode::kSplit);
void merge_splits(const DecodeTask& task, unsigned rows, Stream& stream);

}  // namespace braid::cuda
