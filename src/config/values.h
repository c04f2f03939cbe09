// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: numbers as text.
#pragma once

#include <string>

namespace braid::config {

// The shortest text that reads back as the same number: 0.9, 1e-05, 4096.
std::string print_number(double value);

}  // namespace braid::config
