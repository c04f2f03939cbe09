// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/stream.h"

#include "backend/cpu/cpuid.h"

namespace braid::cpu {
namespace {

int thread_count(int wanted) {
  return wanted > 0 ? wanted : static_cast<int>(allowed_cpus().size());
}

}  // namespace

Stream::Stream(const StreamOptions& options)
    : capabilities_(limit(detect(), options.tier)),
      pool_(thread_count(options.threads), options.pin),
      scratch_(static_cast<std::size_t>(pool_.workers())) {}

std::byte* Stream::scratch(int worker, std::size_t bytes) {
  Buffer& buffer = scratch_[static_cast<std::size_t>(worker)].buffer;
  if (buffer.size() < bytes) buffer = Buffer(bytes + bytes / 2 + 4096);
  return buffer.data();
}

}  // namespace braid::cpu
