// SPDX-License-Identifier: Apache-2.0
// The CUDA backend as the layers above see it: the stream of one GPU and the kernel lists. Builds
// without it have the same two functions, which say so. The driver is opened when a stream is made,
// so a program with this backend starts on machines without one.
#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "ops/backend.h"

namespace braid::cuda {

// The stream of GPU `device`. The error is one line: what is wrong (no backend in this build, no
// driver or an old one, no GPU, one that is too old, busy or full) and what to do; its code is
// kUnavailable when there is a GPU that can't be used.
Result<std::unique_ptr<braid::Stream>> make_stream(int device = 0);

// What the GPU could do at most.
struct Peaks {
  double flops = 0;      // bfloat16 on tensor cores, from clock and multiprocessors
  double bandwidth = 0;  // bytes a second, measured by a copy inside its memory
};
Peaks measure_peaks(braid::Stream& stream);

// Bytes a second of copies between the GPU and other memory.
struct Links {
  double to_gpu = 0;    // from pinned memory of the host
  double from_gpu = 0;  // and back
  struct Peer {
    int device = 0;
    bool direct = false;  // the GPUs reach each other's memory, which expert parallelism needs
    double bandwidth = 0;
  };
  std::vector<Peer> peers;  // the other GPUs of this host that have room for the copy
};
Links measure_links(braid::Stream& stream);

// Every kernel of this backend; which of them can run is their supports()' business.
const ops::KernelLists& kernels();

}  // namespace braid::cuda
