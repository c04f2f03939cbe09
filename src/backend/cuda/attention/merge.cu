// SPDX-License-Identifier: Apache-2.0
// The second half of attention_decode: splits of a row and head become its output.
//
// Memory: every split's output is read once. Warps: a block of 128 threads a row and head, a thread
// strides over the columns. Bound: memory, and launch time.
#include <algorithm>

#include "backend/cuda/attention/splits.cuh"

namespace braid::cuda {
namespace {

constexpr int kSplit = ops::AttentionDecode::kSplit;

__global__ void merge_kernel(const __grid_constant__ DecodeTask t) {
  const std::int64_t row = blockIdx.y;
  const int head = blockIdx.x, splits = (t.rows[row].context + kSplit - 1) / kSplit, v = t.shape.v_dim;
  float top = -INFINITY, sum = 0;
  for (int s = 0; s < splits; ++s) top = fmaxf(top, t.part(row, head, s)[v]);
  for (int s = 0; s < splits; ++s) sum += t.part(row, head, s)[v + 1] * expf(t.part(row, head, s)[v] - top);
  for (int c = threadIdx.x; c < v; c += blockDim.x) {
    float out = 0;
    for (int s = 0; s < splits; ++s) out += t.part(row, head, s)[c] * expf(t.part(row, head, s)[v] - top);
    store(row_of(t.out, row), t.out.dtype, head * v + c, out / sum);
  }
}

}  // namespace

DecodeTask decode_task(const ops::AttentionDecode::Args& a) {
  int longest = 0;
  for (const auto& row : a.rows) longest = std::max(longest, row.context);
  return {a.shape, a.q, a.k, a.v, a.block_size, static_cast<int>(ops::AttentionDecode::most_splits(longest)), a.rows.device, a.out,
          reinterpret_cast<float*>(a.scratch)};
}

void merge_splits(const DecodeTask& task, unsigned rows, Stream& stream) {
  launch(stream, "attention_decode", merge_kernel, dim3(static_cast<unsigned>(task.shape.heads), rows), 128, 0, task);
}

}  // namespace braid::cuda
