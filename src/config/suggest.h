// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace braid::config {

// Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`.
int edit_distance(std::string_view a, std::string_view b);

// The candidate nearest to `name`, or "" when none is near (more than a third of it differs).
std::string nearest(std::string_view name, std::span<const std::string> candidates);

}  // namespace braid::config
