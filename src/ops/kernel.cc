// SPDX-License-Identifier: Apache-2.0
#include "ops/kernel.h"

namespace braid::ops {

std::string forced_name(const ForcedKernels& forced, std::string_view op) {
  std::string general;
  for (const auto& entry : forced) {
    const auto equals = entry.find('=');
    if (equals == std::string::npos) {
      general = entry;
    } else if (entry.compare(0, equals, op) == 0) {
      return "!" + entry.substr(equals + 1);
    }
  }
  return general;
}

}  // namespace braid::ops
