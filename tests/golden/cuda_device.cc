// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/backend.h"
#include "base/check.h"
#include "tests/golden/test_device.h"

namespace braid {

TestDevice open_test_device() {
  auto stream = cuda::make_stream();
  CHECK(stream.ok(), stream.ok() ? "" : stream.error().message);
  return {std::move(stream).value(), &cuda::kernels(), {"best", "mma", "simple"}, {"float32", "bfloat16", "fp8", "fp8_cache"}};
}

}  // namespace braid
