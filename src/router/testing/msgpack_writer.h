// SPDX-License-Identifier: Apache-2.0
// Writes MessagePack, for tests.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>
#include <vector>

namespace braid::router::testing {

class MsgWriter {
 public:
  const std::vector<std::uint8_t>& bytes() const { return bytes_; }

  MsgWriter& array(std::size_t size) { return put(0xdd, size, 4); }
  MsgWriter& map(std::size_t size) { return put(0xdf, size, 4); }
  MsgWriter& integer(std::uint64_t value) { return put(0xcf, value, 8); }
  MsgWriter& number(double value) { return put(0xcb, std::bit_cast<std::uint64_t>(value), 8); }
  MsgWriter& nil() {
    bytes_.push_back(0xc0);
    return *this;
  }
  MsgWriter& text(std::string_view value) { return put(0xd9, value.size(), 1).raw(value); }
  MsgWriter& binary(std::string_view value) { return put(0xc4, value.size(), 1).raw(value); }

 private:
  MsgWriter& put(std::uint8_t tag, std::uint64_t value, int size) {
    bytes_.push_back(tag);
    for (int shift = 8 * (size - 1); shift >= 0; shift -= 8) bytes_.push_back(static_cast<std::uint8_t>(value >> shift));
    return *this;
  }
  MsgWriter& raw(std::string_view value) {
    bytes_.insert(bytes_.end(), value.begin(), value.end());
    return *this;
  }

  std::vector<std::uint8_t> bytes_;
};

}  // namespace braid::router::testing
