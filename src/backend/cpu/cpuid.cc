// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/cpuid.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace braid::cpu {
namespace {

#if defined(__x86_64__)
struct Leaf {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Leaf leaf(unsigned number, unsigned sub = 0) {
  Leaf r;
  if (!__get_cpuid_count(number, sub, &r.a, &r.b, &r.c, &r.d)) return {};
  return r;
}

std::uint64_t saved_states() {
  unsigned low = 0;
  unsigned high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (std::uint64_t{high} << 32) | low;
}

// Linux gives the 8 KiB tile state only to processes that ask for it.
bool amx_granted() {
  constexpr long kRequestPermission = 0x1023;
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

bool bit(unsigned word, int i) { return (word >> i) & 1u; }

std::vector<std::string> x86_features() {
  std::vector<std::string> found;
  const auto add = [&](bool present, const char* name) {
    if (present) found.emplace_back(name);
  };
  const Leaf one = leaf(1);
  if (!bit(one.c, 27)) return found;  // no XGETBV
  const std::uint64_t states = saved_states();
  const bool ymm = (states & 0x6) == 0x6;
  const bool zmm = (states & 0xe6) == 0xe6;
  const bool tiles = (states & 0x60000) == 0x60000;
  const Leaf seven = leaf(7);
  const Leaf seven_one = leaf(7, 1);
  add(ymm && bit(seven.b, 5), "avx2");
  add(ymm && bit(one.c, 12), "fma");
  add(ymm && bit(one.c, 29), "f16c");
  add(zmm && bit(seven.b, 16), "avx512f");
  add(zmm && bit(seven.b, 30), "avx512bw");
  add(zmm && bit(seven.b, 31), "avx512vl");
  add(zmm && bit(seven.b, 17), "avx512dq");
  add(zmm && bit(seven_one.a, 5), "avx512bf16");
  add(zmm && bit(seven.c, 11), "avx512vnni");
  add(zmm && bit(seven.c, 1), "avx512vbmi");
  if (tiles && bit(seven.d, 24) && amx_granted()) {
    add(true, "amx-tile");
    add(bit(seven.d, 22), "amx-bf16");
    add(bit(seven.d, 25), "amx-int8");
  }
  return found;
}
#endif

using Names = std::initializer_list<const char*>;

void drop(Capabilities& caps, Names names) {
  std::erase_if(caps.features, [&](const std::string& feature) {
    return std::any_of(names.begin(), names.end(), [&](auto* name) { return feature == name; });
  });
}

}  // namespace

Capabilities detect() {
  Capabilities caps;
  caps.device = "cpu";
#if defined(__x86_64__)
  caps.features = x86_features();
#elif defined(__aarch64__)
  caps.features = {"neon"};
#endif
  return caps;
}

Capabilities limit(const Capabilities& caps, std::string_view tier) {
  Capabilities limited = caps;
  const std::array<std::string_view, 4> tiers = {"scalar", "avx2", "avx512", "avx512bf16"};
  const auto level = std::find(tiers.begin(), tiers.end(), tier) - tiers.begin();
  if (level <= 3) drop(limited, {"amx-tile", "amx-bf16", "amx-int8"});
  if (level <= 2) drop(limited, {"avx512bf16", "avx512vnni", "avx512vbmi"});
  if (level <= 1) drop(limited, {"avx512f", "avx512bw", "avx512vl", "avx512dq"});
  if (level == 0) drop(limited, {"avx2", "fma", "f16c", "neon"});
  return limited;
}

}  // namespace braid::cpu
