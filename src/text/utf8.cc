// SPDX-License-Identifier: Apache-2.0
#include "text/utf8.h"

namespace braid::text {
namespace {

struct Lead {
  int length = 0;  // 0: not a lead byte
  unsigned char low = 0x80;
  unsigned char high = 0xBF;  // bounds of the second byte
};

Lead lead_of(unsigned char b) {
  if (b < 0x80) return {1};
  if (b >= 0xC2 && b <= 0xDF) return {2};
  if (b == 0xE0) return {3, 0xA0, 0xBF};
  if (b == 0xED) return {3, 0x80, 0x9F};
  if (b >= 0xE1 && b <= 0xEF) return {3};
  if (b == 0xF0) return {4, 0x90, 0xBF};
  if (b == 0xF4) return {4, 0x80, 0x8F};
  if (b >= 0xF1 && b <= 0xF3) return {4};
  return {};
}

}  // namespace

std::size_t decode_utf8(std::string_view bytes, std::string& out) {
  std::size_t at = 0;
  while (at < bytes.size()) {
    const Lead lead = lead_of(static_cast<unsigned char>(bytes[at]));
    std::size_t valid = lead.length > 0 ? 1 : 0;
    while (valid > 0 && valid < static_cast<std::size_t>(lead.length) && at + valid < bytes.size()) {
      const auto b = static_cast<unsigned char>(bytes[at + valid]);
      const bool fits = valid == 1 ? b >= lead.low && b <= lead.high : b >= 0x80 && b <= 0xBF;
      if (!fits) break;
      ++valid;
    }
    if (lead.length > 0 && valid == static_cast<std::size_t>(lead.length)) {
      out.append(bytes.substr(at, valid));
    } else if (lead.length > 0 && at + valid == bytes.size()) {
      break;
    } else {
      out.append(kReplacement);
      valid = valid > 0 ? valid : 1;
    }
    at += valid;
  }
  return at;
}

}  // namespace braid::text
