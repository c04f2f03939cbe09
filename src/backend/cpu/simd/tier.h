// SPDX-License-Identifier: Apache-2.0
// The instruction-set tiers of kernels: their names, ranks and the features they need.
#pragma once

#include <string>

#include "tensor/device.h"

namespace braid::cpu {

struct Tier {
  const char* name;
  int rank;
  const char* features[12];  // ends with a null pointer
};

extern const Tier kScalar;
extern const Tier kAvx2;
extern const Tier kAvx512;
extern const Tier kAvx512Bf16;
extern const Tier kAvx512Vbmi;  // named avx512bf16 too: with byte tables and VNNI
extern const Tier kAmx;

// "lacks avx2", or empty when every feature of the tier is there.
std::string missing(const Capabilities& caps, const Tier& tier);

}  // namespace braid::cpu
