// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/gemm/tensor_map.h"

#include <cuda_runtime_api.h>

#include <string>

namespace braid::cuda {
namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

// The driver's function, found at run time: programs must start where there is no driver.
Encode find_encode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  const cudaError_t error = cudaGetDriverEntryPointByVersion(
      "cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
  return error == cudaSuccess && found == cudaDriverEntryPointSuccess
             ? reinterpret_cast<Encode>(function)
             : nullptr;
}

CUtensorMapDataType type_of(Element element) {
  switch (element) {
    case Element::kByte: return CU_TENSOR_MAP_DATA_TYPE_UINT8;
    case Element::kBf16: return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    case Element::kFloat: return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
  }
  return CU_TENSOR_MAP_DATA_TYPE_UINT8;
}

std::int64_t bytes_of(Element element) {
  return element == Element::kByte ? 1 : element == Element::kBf16 ? 2 : 4;
}

CUtensorMapSwizzle swizzle_of(int bytes) {
  return bytes == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
         : bytes == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                       : CU_TENSOR_MAP_SWIZZLE_NONE;
}

}  // namespace

Result<CUtensorMap> tensor_map(const BoxedMatrix& matrix) {
  static const Encode encode = find_encode();
  if (encode == nullptr) {
    return internal_error("the driver has no tensor maps; Hopper kernels need driver 525 or newer");
  }
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(matrix.columns),
                               static_cast<cuuint64_t>(matrix.rows)};
  const cuuint64_t strides[1] = {
      static_cast<cuuint64_t>(matrix.stride * bytes_of(matrix.element))};
  const cuuint32_t box[2] = {static_cast<cuuint32_t>(matrix.box_columns),
                             static_cast<cuuint32_t>(matrix.box_rows)};
  const cuuint32_t steps[2] = {1, 1};
  CUtensorMap map;
  const CUresult result = encode(&map,
                                 type_of(matrix.element),
                                 2,
                                 const_cast<void*>(matrix.data),
                                 sizes,
                                 strides,
                                 box,
                                 steps,
                                 CU_TENSOR_MAP_INTERLEAVE_NONE,
                                 swizzle_of(matrix.swizzle),
                                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                 CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    return internal_error("no tensor map for " + std::string(matrix.name) + " [" +
                          std::to_string(matrix.rows) + ", " + std::to_string(matrix.columns) +
                          "]: driver error " + std::to_string(result) +
                          "; rows must be multiples of 16 bytes and 16-byte aligned");
  }
  return map;
}

}  // namespace braid::cuda
