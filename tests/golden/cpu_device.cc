// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/backend.h"
#include "tests/golden/test_device.h"

namespace braid {

TestDevice open_test_device() {
  TestDevice device{cpu::make_stream({}), &cpu::kernels(), {"scalar"}, {"float32", "bfloat16", "int8", "fp8_cache"}};
  const auto& caps = device.stream->capabilities();
  if (caps.has("avx2")) device.tiers.push_back("avx2");
  if (caps.has("avx512f")) device.tiers.push_back("avx512");
  if (caps.has("avx512bf16")) device.tiers.push_back("avx512bf16");
  if (caps.has("amx-bf16")) device.tiers.push_back("amx");
  return device;
}

}  // namespace braid
