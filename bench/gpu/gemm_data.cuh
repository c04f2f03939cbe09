// SPDX-License-Identifier: Apache-2.0
// Random operands for the GEMM bench, made on the device, and the comparison with the reference.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "backend/cuda/gemm/reference.h"

namespace braid::cuda::bench {

#define CUDA_OR_EXIT(call)                                                              \
  do {                                                                                  \
    if (const cudaError_t error_ = (call); error_ != cudaSuccess) {                     \
      std::printf("%s:%d: %s\n", __FILE__, __LINE__, cudaGetErrorString(error_));       \
      std::exit(1);                                                                     \
    }                                                                                   \
  } while (false)

template <class T>
T value_or_exit(Result<T> result) {
  if (!result.ok()) {
    std::printf("%s\n", result.error().message.c_str());
    std::exit(1);
  }
  return std::move(result).value();
}

inline void ok_or_exit(const Status& status) {
  if (!status.ok()) {
    std::printf("%s\n", status.error().message.c_str());
    std::exit(1);
  }
}

// Device memory of one array.
template <class T>
class Array {
 public:
  explicit Array(std::size_t size) : size_(size) {
    CUDA_OR_EXIT(cudaMalloc(&data_, size * sizeof(T) + 16));
  }
  explicit Array(const std::vector<T>& values) : Array(values.size()) {
    CUDA_OR_EXIT(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  ~Array() { cudaFree(data_); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  T* data() const { return static_cast<T*>(data_); }
  std::size_t size() const { return size_; }

 private:
  std::size_t size_;
  void* data_ = nullptr;
};

__device__ inline std::uint32_t mixed(std::uint64_t value) {
  value = (value ^ (value >> 31)) * 0x9E3779B97F4A7C15ull;
  value = (value ^ (value >> 29)) * 0xBF58476D1CE4E5B9ull;
  return static_cast<std::uint32_t>(value >> 32);
}

// About normal: the sum of four uniform bytes.
__device__ inline float normal(std::uint64_t index, std::uint64_t seed) {
  const std::uint32_t bits = mixed(index * 2654435761ull + seed * 0x100000001B3ull + 12345);
  const int sum = (bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + (bits >> 24);
  return (sum - 510) / 148.0f;
}

static __global__ void fill_values(std::uint8_t* out, std::size_t count, Precision precision,
                                   std::uint64_t seed) {
  const std::size_t stride = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count; i += stride) {
    if (precision == Precision::kFp8) {
      reinterpret_cast<__nv_fp8_e4m3*>(out)[i] = __nv_fp8_e4m3(normal(i, seed) * 120.0f);
    } else {
      reinterpret_cast<__nv_bfloat16*>(out)[i] = __float2bfloat16(normal(i, seed));
    }
  }
}

static __global__ void fill_scales(float* out, std::size_t count, std::uint64_t seed) {
  const std::size_t stride = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count; i += stride) {
    out[i] = (0.5f + mixed(i + seed) / 4294967296.0f) / 120.0f;
  }
}

// sums[0] += (out - reference)^2, sums[1] += reference^2 over the reference's rows.
static __global__ void compare(const __nv_bfloat16* out, const float* reference,
                               const std::int32_t* rows, int count, int n, double* sums) {
  double difference = 0;
  double size = 0;
  const std::size_t stride = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x;
       i < static_cast<std::size_t>(count) * n; i += stride) {
    const float got = __bfloat162float(out[static_cast<std::size_t>(rows[i / n]) * n + i % n]);
    difference += static_cast<double>(got - reference[i]) * (got - reference[i]);
    size += static_cast<double>(reference[i]) * reference[i];
  }
  atomicAdd(&sums[0], difference);
  atomicAdd(&sums[1], size);
}

// A hash of every element of the output, so that whole results can be compared.
static __global__ void hash_output(const std::uint16_t* out, std::size_t count,
                                   unsigned long long* hash) {
  unsigned long long sum = 0;
  const std::size_t stride = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count; i += stride) {
    sum += static_cast<unsigned long long>(mixed(i * 65537 + out[i]));
  }
  atomicAdd(hash, sum);
}

// Elements of rows outside all groups that are no longer as poisoned.
static __global__ void count_touched(const std::uint16_t* out, const std::uint8_t* inside, int rows,
                                     int n, unsigned long long* touched) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x;
       i < static_cast<std::size_t>(rows) * n;
       i += static_cast<std::size_t>(gridDim.x) * blockDim.x) {
    if (!inside[i / n] && out[i] != 0xFFFF) {
      atomicAdd(touched, 1ull);
    }
  }
}

// Reads `count` units, so that the cache holds nothing else.
static __global__ void read_all(const uint4* data, std::size_t count, unsigned* sink) {
  unsigned sum = 0;
  const std::size_t stride = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count; i += stride) {
    const uint4 unit = __ldcg(data + i);
    sum += unit.x ^ unit.y ^ unit.z ^ unit.w;
  }
  if (sum == 12345) {
    *sink = sum;
  }
}

}  // namespace braid::cuda::bench
