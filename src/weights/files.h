// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace braid::weights {

Result<std::string> read_config(const std::string& folder);  // config.json

// The safetensors files of a folder, in order: those of the index, else all *.safetensors except
// files that hold no weights (expected.safetensors lies beside test models).
Result<std::vector<std::string>> weight_files(const std::string& folder);

}  // namespace braid::weights
