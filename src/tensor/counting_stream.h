// SPDX-License-Identifier: Apache-2.0
// A stream that takes no memory and runs nothing, and tells how much kernels' memory it was asked for: what is
// built on it says what it will take. Buffers from it are empty.
#pragma once

#include "tensor/device.h"

namespace braid {

class CountingStream final : public Stream {
 public:
  // Of a device like `real`'s, with memory of its own.
  explicit CountingStream(const Stream& real) : capabilities_(real.capabilities()), workers_(real.workers()) {}

  const Capabilities& capabilities() const override { return capabilities_; }
  int workers() const override { return workers_; }
  bool unified() const override { return false; }
  Buffer allocate(std::size_t bytes) override {
    bytes_ += bytes;
    return {};
  }
  Buffer allocate_host(std::size_t) override { return {}; }
  void copy(void*, const void*, std::size_t) override {}

  std::size_t bytes() const { return bytes_; }

 private:
  const Capabilities capabilities_;
  const int workers_;
  std::size_t bytes_ = 0;
};

}  // namespace braid
