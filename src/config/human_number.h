// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace braid::config {

// A whole number with an optional suffix: k m g t are powers of 1000, K M G T of 1024;
// KiB MiB GiB TiB are powers of 1024, kB MB GB TB of 1000. A fraction needs a suffix: 1.5G.
Result<std::int64_t> parse_human_number(std::string_view text);

// 4294967296 -> "4 GiB", 8192 -> "8192": binary units from 1 MiB when nothing is lost.
std::string print_human_bytes(std::int64_t bytes);

}  // namespace braid::config
