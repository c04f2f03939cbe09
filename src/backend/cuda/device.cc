// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/device.h"

namespace braid::cuda {
namespace {

constexpr const char* kOrCpu = ", or use --device cpu";

Error no_gpu(const std::string& message) { return {ErrorCode::kNotFound, message + kOrCpu, "device"}; }
Error unavailable(const std::string& message) { return {ErrorCode::kUnavailable, message + kOrCpu, "device"}; }

std::string version(int number) { return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10); }

std::string mib(std::size_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

Error no_gpus(cudaError_t code) {
  int driver = 0;
  cudaDriverGetVersion(&driver);
  if (driver == 0) return no_gpu("no NVIDIA driver was found (libcuda.so.1); install the GPU's driver, 580 or newer");
  if (code == cudaErrorInsufficientDriver) {
    return unavailable("the NVIDIA driver is too old: it offers CUDA " + version(driver) + ", this program needs " +
                       version(CUDART_VERSION) + "; update the driver to 580 or newer");
  }
  if (code == cudaErrorNoDevice || code == cudaSuccess) {
    return no_gpu("the driver shows no GPU; look at nvidia-smi and CUDA_VISIBLE_DEVICES");
  }
  return unavailable(std::string("the GPU can't be opened: ") + cudaGetErrorString(code));
}

Result<Gpu> check(const Gpu& gpu) {
  const std::string which = "GPU " + std::to_string(gpu.device) + " (" + gpu.name + ")";
  if (gpu.capability < kOldestCapability) {
    return unavailable(which + " has compute capability " + std::to_string(gpu.capability / 10) + "." +
                       std::to_string(gpu.capability % 10) + "; the kernels need 8.0: take a newer GPU");
  }
  std::size_t free = 0, total = 0;
  const cudaError_t code = cudaMemGetInfo(&free, &total);
  if (code == cudaErrorDevicesUnavailable) {
    return unavailable(which + " is busy: another process uses it alone; stop that process or take another GPU by CUDA_VISIBLE_DEVICES");
  }
  if (code != cudaSuccess) return unavailable(which + " can't be used: " + cudaGetErrorString(code));
  if (free < kLeastMemory) {
    return unavailable(which + " has " + mib(free) + " free of " + mib(total) +
                       ", too little to serve; stop what holds the rest (nvidia-smi lists it)");
  }
  return gpu;
}

}  // namespace

Result<Gpu> open_gpu(int device) {
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code != cudaSuccess || count == 0) return no_gpus(code);
  if (device >= count) {
    return no_gpu("there is no GPU " + std::to_string(device) + ", only " + std::to_string(count));
  }
  cudaDeviceProp found{};
  if (const auto failed = cudaGetDeviceProperties(&found, device); failed != cudaSuccess) return no_gpus(failed);
  if (const auto failed = cudaSetDevice(device); failed != cudaSuccess && failed != cudaErrorDevicesUnavailable) {
    return no_gpus(failed);
  }
  return check({device, found.name, found.major * 10 + found.minor, found.multiProcessorCount, found.totalGlobalMem,
                found.sharedMemPerBlockOptin});
}

Capabilities capabilities_of(const Gpu& gpu) {
  Capabilities caps{"cuda", {"sm_80"}};
  if (gpu.capability == 90) caps.features.push_back("sm_90a");
  return caps;
}

Error error_of(cudaError_t code, const std::string& what) {
  if (code == cudaErrorMemoryAllocation) {
    return {ErrorCode::kResourceExhausted,
            what + ": the GPU is out of memory; lower --gpu-memory-utilization or --max-num-batched-tokens", {}};
  }
  return internal_error(what + ": " + cudaGetErrorString(code));
}

}  // namespace braid::cuda
