// SPDX-License-Identifier: Apache-2.0
#include "tensor/device.h"

#include <algorithm>
#include <cstring>

namespace braid {

bool Capabilities::has(std::string_view feature) const {
  return std::find(features.begin(), features.end(), feature) != features.end();
}

void Stream::copy(void* to, const void* from, std::size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}

Result<std::unique_ptr<PeerWindow>> Stream::peer_window(std::size_t) {
  return Error{ErrorCode::kUnimplemented, "device " + capabilities().device + " has no memory that other ranks' devices write", {}};
}

}  // namespace braid
