// SPDX-License-Identifier: Apache-2.0
// Loops that do nothing but one thing at the greatest rate, per instruction set.
#pragma once

#include <cstdint>

namespace braid::cpu {

struct PeakLoop {
  void (*run)(std::int64_t iterations) = nullptr;
  double operations = 0;  // of one iteration; a multiply-add is two
};

// Reads [p, p + bytes) as four interleaved streams; bytes is a multiple of 1024.
using ReadLoop = void (*)(const void* p, std::int64_t bytes);

extern const PeakLoop kScalarF32Peak;
extern const PeakLoop kAvx2F32Peak;
extern const PeakLoop kAvx512F32Peak;
extern const PeakLoop kAvx512Bf16Peak;
extern const PeakLoop kAvx512Int8Peak;
extern const PeakLoop kAmxBf16Peak;
extern const PeakLoop kAmxInt8Peak;
extern const ReadLoop kScalarRead;
extern const ReadLoop kAvx2Read;
extern const ReadLoop kAvx512Read;

}  // namespace braid::cpu
