// SPDX-License-Identifier: Apache-2.0
// Whole text files, with errors that name the path.
#pragma once

#include <string>

#include "base/result.h"

namespace braid::text {

Result<std::string> read_file(const std::string& path);
bool is_directory(const std::string& path);
bool exists(const std::string& path);

}  // namespace braid::text
