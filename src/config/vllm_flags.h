// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace braid::config {

// Whether vLLM (0.33) has a flag of that name; the name without dashes in front, in kebab-case,
// long ("data-parallel-size") or short ("dp"). Of a dotted name only the first part counts.
bool is_vllm_flag(std::string_view name);

}  // namespace braid::config
