// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace braid::gateway {

// The first token_ids list in the answer of a render endpoint; empty: there is none.
std::vector<std::int32_t> token_ids_in(std::string_view answer);

}  // namespace braid::gateway
