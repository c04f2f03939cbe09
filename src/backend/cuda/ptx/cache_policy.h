// SPDX-License-Identifier: Apache-2.0
// How long a line that a copy touches should stay in the second-level cache, as encoded policies.
#pragma once

#include <cstdint>

namespace braid::cuda {

inline constexpr std::uint64_t kKeepNormal = 0x1000000000000000;
inline constexpr std::uint64_t kKeepShort = 0x12F0000000000000;
inline constexpr std::uint64_t kKeepLong = 0x14F0000000000000;

}  // namespace braid::cuda
