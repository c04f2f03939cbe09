// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace braid::text {

// Appends to `out` what is certain of `bytes` as UTF-8, with U+FFFD for each maximal invalid part
// (Unicode, section 3.9), and returns how many bytes that took. The rest, at most three bytes, is
// the beginning of a character.
std::size_t decode_utf8(std::string_view bytes, std::string& out);

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

}  // namespace braid::text
