// SPDX-License-Identifier: Apache-2.0
#include "app/devices.h"

#include "backend/cpu/backend.h"
#include "backend/cuda/backend.h"
#include "base/log.h"

namespace braid::app {
namespace {

OpenDevice cpu_device(const ModelSettings& settings) {
  return {cpu::make_stream({.threads = settings.cpu_threads}), &cpu::kernels()};
}

}  // namespace

Result<OpenDevice> open_device(const ModelSettings& settings, int index) {
  if (settings.device == "cpu" || (settings.device == "auto" && settings.cpu_activations != "bf16")) return cpu_device(settings);
  auto gpu = cuda::make_stream(index);
  if (gpu.ok()) return OpenDevice{std::move(gpu).value(), &cuda::kernels()};
  if (settings.device == "cuda") return gpu.error();
  if (gpu.error().code == ErrorCode::kUnavailable) log_warning("running on the CPU", {{"reason", gpu.error().message}});
  return cpu_device(settings);
}

}  // namespace braid::app
