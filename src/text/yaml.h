// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"

namespace braid::text {

// One YAML document as JSON text; keys keep their order.
Result<std::string> yaml_to_json(const std::string& yaml);

}  // namespace braid::text
