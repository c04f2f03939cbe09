// SPDX-License-Identifier: Apache-2.0
// The limits of this machine, measured: what every other figure is a share of.
#pragma once

#include <string>

#include "backend/cpu/stream.h"

namespace braid::cpu {

struct Limit {
  double one = 0;  // one worker
  double all = 0;  // all workers of the stream at once
};

struct MachineLimits {
  int workers = 1;
  std::string arithmetic;  // the tier the figures were made with
  Limit f32_gflops;
  Limit bf16_gflops;       // f32's without BF16 instructions: weights are widened then
  Limit int8_gops;         // f32's without VNNI
  Limit dram_gb_s;         // read, four streams a worker
  Limit l3_gb_s;           // read, 4 MiB a worker
  Limit l2_gb_s;           // read, 512 KiB a worker
};

// Workers start together and read the clock themselves; a repetition lasts from the earliest begin
// to the latest end, and the best of several counts. `dram_bytes` is read in equal shares by the
// workers and should be far larger than the caches. Takes about two seconds.
MachineLimits measure_machine(Stream& stream, std::size_t dram_bytes = std::size_t{1} << 30);

}  // namespace braid::cpu
