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

  // [v_dim] output, maximum (of natural exponents), sum.
  __device__ float* part(std::int64_t row, int head, int split) const {
    return parts + ((row * shape.heads + head) * splits + split) * (shape.v_dim + 2);
  }
};

DecodeTask decode_task(const ops::AttentionDecode::Args& args, int split_keys = ops::AttentionDecode::kSplit);
void merge_splits(const DecodeTask& task, unsigned rows, Stream& stream);

}  // namespace braid::cuda
