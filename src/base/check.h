// SPDX-License-Identifier: Apache-2.0
// CHECK(condition, message...): aborts with file, line and message when an invariant of ours is
// broken. Never reachable from user input, files, peers or devices: those return Result.
#pragma once

#include <string>
#include <string_view>

namespace braid {

[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               std::string_view message = {});

}  // namespace braid

#define CHECK(condition, ...)                                                     \
  do {                                                                            \
    if (!(condition)) [[unlikely]] {                                              \
      ::braid::check_failed(__FILE__, __LINE__, #condition __VA_OPT__(, ) __VA_ARGS__); \
    }                                                                             \
  } while (false)
