// SPDX-License-Identifier: Apache-2.0
// What a backend is to the layers above it: a Device (capabilities, kernels) and a Stream on
// which kernels run in order. On the CPU a Stream owns the worker pool and run() returns when the
// work is done; on a GPU it enqueues.
#pragma once

#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace braid {

// What kernels may ask before they are chosen. Features are lower-case cpuid-like names:
// "avx2" "fma" "f16c" "avx512f" "avx512bw" "avx512vl" "avx512dq" "avx512bf16" "avx512vnni"
// "avx512vbmi" "amx-tile" "amx-bf16" "amx-int8" "neon".
struct Capabilities {
  std::string device;  // "cpu"
  std::vector<std::string> features;
  bool has(std::string_view feature) const;
};

class Stream {
 public:
  virtual ~Stream() = default;
  virtual const Capabilities& capabilities() const = 0;
  virtual int workers() const = 0;
};

}  // namespace braid
