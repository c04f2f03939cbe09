// SPDX-License-Identifier: Apache-2.0
// The bias of a linear layer, or of a group's last matrix, added to what a matrix kernel wrote.
//
// Memory: y is read and written once more, the bias stays in the cache. Warps: one block a row of a batch
// entry, its threads stride over the columns. Bound: memory, and launch time at decode.
#include "backend/cuda/matmul/groups.cuh"
#include "backend/cuda/rows/element.cuh"

namespace braid::cuda {
namespace {

__global__ void bias_kernel(float* y, std::int64_t stride, std::int64_t batch_stride, const float* bias, std::int64_t n) {
  float* const row = y + blockIdx.x * stride + blockIdx.y * batch_stride;
  for (std::int64_t c = threadIdx.x; c < n; c += blockDim.x) row[c] += bias[blockIdx.y * n + c];
}

struct GroupBiases {
  const float* bias[kMaxGroups];
};

__global__ void group_bias_kernel(float* out, std::int64_t stride, int n, const std::int32_t* offsets, int groups,
                                  const __grid_constant__ GroupBiases biases) {
  const int row = static_cast<int>(blockIdx.x);
  const GroupTile g = find_tile(offsets, groups, 1, row);
  const float* const bias = g.group < 0 ? nullptr : biases.bias[g.group];
  if (!bias) return;
  for (int c = static_cast<int>(threadIdx.x); c < n; c += blockDim.x) out[row * stride + c] += bias[c];
}

}  // namespace

void add_group_bias(const ops::GroupedMlp::Args& a, braid::Stream& s) {
  GroupBiases biases{};
  bool any = false;
  for (std::size_t g = 0; g < a.groups.size(); ++g) {
    if (!a.groups[g] || a.groups[g]->bias.data() == nullptr) continue;
    biases.bias[g] = a.groups[g]->bias.as<float>() + 2 * a.groups[g]->inter;
    any = true;
  }
  if (!any) return;
  launch(stream(s), "bias of groups", group_bias_kernel, dim3(static_cast<unsigned>(a.out.rows)), 256, 0, a.out.data, a.out.stride,
         static_cast<int>(a.out.cols), a.offsets, static_cast<int>(a.groups.size()), biases);
}

void add_bias(const ops::Linear::Args& a, braid::Stream& s) {
  if (!a.bias) return;
  const dim3 grid(static_cast<unsigned>(a.x.rows), static_cast<unsigned>(a.weight->batch));
  launch(stream(s), "bias", bias_kernel, grid, 256, 0, static_cast<float*>(a.y.data), a.y.stride, a.y_batch_stride, a.bias, a.weight->n);
}

}  // namespace braid::cuda
