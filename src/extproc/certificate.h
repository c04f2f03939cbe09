// SPDX-License-Identifier: Apache-2.0
// Internal to the layer.
#pragma once

#include <string>

#include "base/result.h"

namespace braid::extproc {

struct Certificate {
  std::string certificate;  // PEM
  std::string key;
};

// A new key with a certificate that it has signed itself, for ten years. Clients can't verify it.
Result<Certificate> self_signed();

}  // namespace braid::extproc
