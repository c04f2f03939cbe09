// SPDX-License-Identifier: Apache-2.0
// embed: a row of the table for each id, as float32.
//
// Memory: table row -> out row, each read and written once, neighbouring threads on neighbouring
// elements. Warps: one block a row, its threads stride over the columns. Bound: memory.
#include "backend/cuda/rows/element.cuh"
#include "backend/cuda/rows/rows.h"

namespace braid::cuda {
namespace {

__global__ void embed_kernel(const void* table, DType dtype, const std::int32_t* ids, Matrix<float> out) {
  const std::int64_t from = static_cast<std::int64_t>(ids[blockIdx.x]) * out.cols;
  float* to = out.data + blockIdx.x * out.stride;
  for (std::int64_t c = threadIdx.x; c < out.cols; c += blockDim.x) to[c] = load(table, dtype, from + c);
}

}  // namespace

void embed(const ops::Embed::Args& a, braid::Stream& s) {
  launch(stream(s), "embed", embed_kernel, dim3(static_cast<unsigned>(a.ids.size())), 256, 0, a.table, a.dtype,
         a.ids.data(), a.out);
}

}  // namespace braid::cuda
