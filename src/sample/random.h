// SPDX-License-Identifier: Apache-2.0
// Counter-based random numbers (Philox4x32-10): the number at (seed, position) is a pure function,
// so that a sequence's draws do not depend on what else is computed, when, or how often.
#pragma once

#include <array>
#include <cstdint>

namespace braid::sample {

inline std::array<std::uint32_t, 4> philox(std::uint64_t seed, std::uint64_t position) {
  std::array<std::uint32_t, 4> x = {static_cast<std::uint32_t>(position),
                                    static_cast<std::uint32_t>(position >> 32),
                                    0,
                                    0};
  auto key0 = static_cast<std::uint32_t>(seed);
  auto key1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53} * x[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57} * x[2];
    x = {static_cast<std::uint32_t>(b >> 32) ^ x[1] ^ key0,
         static_cast<std::uint32_t>(b),
         static_cast<std::uint32_t>(a >> 32) ^ x[3] ^ key1,
         static_cast<std::uint32_t>(a)};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return x;
}

// In [0, 1), 53 bits.
inline double uniform(std::uint64_t seed, std::uint64_t position) {
  const auto words = philox(seed, position);
  const std::uint64_t bits = (std::uint64_t{words[0]} << 32 | words[1]) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

// One well-mixed seed from two numbers.
inline std::uint64_t mix_seed(std::uint64_t a, std::uint64_t b) {
  const auto words = philox(a, b);
  return std::uint64_t{words[2]} << 32 | words[3];
}

}  // namespace braid::sample
