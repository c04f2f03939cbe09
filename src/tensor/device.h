// SPDX-License-Identifier: Apache-2.0
// What a backend is to the layers above it: a Device (capabilities, kernels) and a Stream on
// which kernels run in order. On the CPU a Stream owns the worker pool and run() returns when the
// work is done; on a GPU it enqueues, and kernels work on memory of the GPU's own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
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

// Memory for kernels that the devices of other ranks write, by copies beside the kernels and copies of the
// stream. Thread rules: one thread at a time, which need not be that of the stream.
class PeerWindow {
 public:
  virtual ~PeerWindow() = default;
  // Of this rank's memory; every rank gets all of them, in the order of ranks.
  virtual std::string descriptor() const = 0;
  virtual Status connect(std::span<const std::string> descriptors) = 0;
  virtual const std::byte* data() const = 0;
  // Writes memory for kernels to a rank's, the own one too. It does not change before flush() returns.
  virtual Status put(int rank, std::size_t offset, const void* from, std::size_t bytes) = 0;
  // Returns when all that was put is there.
  virtual Status flush(Duration timeout) = 0;
};

// Kernels and copies of one stream take place in the order of the calls. A call that failed makes
// those that follow do nothing until wait() has told what failed. Thread rules: one thread at a time.
//
// The memory functions are, unless overridden, those of a device whose memory is the host's.
class Stream {
 public:
  virtual ~Stream() = default;
  virtual const Capabilities& capabilities() const = 0;
  virtual int workers() const = 0;

  // Whether kernels work on the host's own memory and are done when they return.
  virtual bool unified() const { return true; }
  // Zeroed memory for kernels. Empty when there is no more of it: a failed call, as above.
  virtual Buffer allocate(std::size_t bytes) { return Buffer(bytes); }
  // Zeroed memory of the host that copies reach at full speed and without waiting.
  virtual Buffer allocate_host(std::size_t bytes) { return Buffer(bytes); }
  // Either side may be memory for kernels or of the host. Memory of the host that is not from
  // allocate_host() may be changed again when this returns.
  virtual void copy(void* to, const void* from, std::size_t bytes);
  // Runs `work`, which only enqueues kernels, the same ones with the same arguments whenever `key` is the
  // same and no memory was allocated since. The second time they may be recorded, and from then on
  // replayed without `work`.
  virtual Status repeat(std::uint64_t key, const std::function<Status()>& work) { return work(); }
  // Returns when everything before is done; the error of what failed since the last wait.
  virtual Status wait() { return {}; }
  // Bytes of memory for kernels that could be taken now; -1: what the host has.
  virtual std::int64_t available_memory() const { return -1; }
  // And of all of it; -1: what the host has.
  virtual std::int64_t total_memory() const { return -1; }
  // Where memory for kernels is not the host's.
  virtual Result<std::unique_ptr<PeerWindow>> peer_window(std::size_t bytes);
  // Gives back what is only kept for calls to come, which take it anew. Waits.
  virtual Status trim() { return wait(); }
};

}  // namespace braid
