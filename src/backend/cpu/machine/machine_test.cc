// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/machine/machine.h"

#include <gtest/gtest.h>

namespace braid::cpu {
namespace {

TEST(Machine, EveryLimitIsMeasuredInEveryTier) {
  for (const char* tier : {"scalar", "avx2", "avx512", "avx512bf16", "amx"}) {
    Stream stream({.threads = 2, .tier = tier});
    const MachineLimits limits = measure_machine(stream, 16 << 20);
    EXPECT_EQ(limits.workers, 2);
    for (const Limit& limit : {limits.f32_gflops, limits.bf16_gflops, limits.int8_gops,
                               limits.dram_gb_s, limits.l3_gb_s, limits.l2_gb_s}) {
      EXPECT_GT(limit.one, 0);
      EXPECT_GT(limit.all, 0);
    }
  }
}

}  // namespace
}  // namespace braid::cpu
