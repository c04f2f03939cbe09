// SPDX-License-Identifier: Apache-2.0
#include "tensor/device.h"

#include <algorithm>

namespace braid {

bool Capabilities::has(std::string_view feature) const {
  return std::find(features.begin(), features.end(), feature) != features.end();
}

}  // namespace braid
