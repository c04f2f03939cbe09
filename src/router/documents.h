// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: the documents of a YAML file, which "---" separates.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "router/config_reader.h"

namespace braid::router {

// Empty documents are left out. Errors: a document is no YAML, or no mapping.
Result<std::vector<ConfigValue>> split_documents(const std::string& yaml, const std::string& file);

// The value of its key "kind", or "".
std::string kind_of(const ConfigValue& document);

}  // namespace braid::router
