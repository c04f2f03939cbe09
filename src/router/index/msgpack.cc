// SPDX-License-Identifier: Apache-2.0
#include "router/index/msgpack.h"

#include <bit>

namespace braid::router {

MsgReader::Kind MsgReader::kind() const {
  if (at_ == bytes_.size()) return Kind::kEnd;
  const std::uint8_t tag = bytes_[at_];
  if (tag <= 0x7f || tag >= 0xe0 || (tag >= 0xcc && tag <= 0xd3)) return Kind::kInteger;
  if (tag <= 0x8f || tag == 0xde || tag == 0xdf) return Kind::kMap;
  if (tag <= 0x9f || tag == 0xdc || tag == 0xdd) return Kind::kArray;
  if (tag <= 0xbf || (tag >= 0xd9 && tag <= 0xdb)) return Kind::kText;
  if (tag == 0xc0) return Kind::kNil;
  if (tag == 0xc2 || tag == 0xc3) return Kind::kBool;
  if (tag >= 0xc4 && tag <= 0xc6) return Kind::kBytes;
  return tag == 0xca || tag == 0xcb ? Kind::kFloat : Kind::kOther;
}

std::uint64_t MsgReader::take(std::size_t size) {
  if (left() < size) {
    fail();
    return 0;
  }
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size; ++i) value = value << 8 | bytes_[at_++];
  return value;
}

std::size_t MsgReader::counted(std::size_t count, std::size_t each) {
  if (count <= left() / each) return count;
  fail();
  return 0;
}

std::size_t MsgReader::array() {
  if (kind() != Kind::kArray) return fail(), 0;
  const std::uint64_t tag = take(1);
  const std::size_t count = tag <= 0x9f ? tag & 0x0f : static_cast<std::size_t>(take(tag == 0xdc ? 2 : 4));
  return counted(count, 1);
}

std::size_t MsgReader::map() {
  if (kind() != Kind::kMap) return fail(), 0;
  const std::uint64_t tag = take(1);
  const std::size_t count = tag <= 0x8f ? tag & 0x0f : static_cast<std::size_t>(take(tag == 0xde ? 2 : 4));
  return counted(count, 2);
}

std::uint64_t MsgReader::integer() {
  if (kind() != Kind::kInteger) return fail(), 0;
  const auto tag = static_cast<std::uint8_t>(take(1));
  if (tag <= 0x7f) return tag;
  if (tag >= 0xe0) return static_cast<std::uint64_t>(static_cast<std::int64_t>(static_cast<std::int8_t>(tag)));
  if (tag <= 0xcf) return take(std::size_t{1} << (tag - 0xcc));
  const std::size_t size = std::size_t{1} << (tag - 0xd0);
  const int unused = static_cast<int>(64 - 8 * size);
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(take(size) << unused) >> unused);
}

double MsgReader::number() {
  if (kind() == Kind::kInteger) return static_cast<double>(static_cast<std::int64_t>(integer()));
  if (kind() != Kind::kFloat) return fail(), 0;
  const bool single = take(1) == 0xca;
  const std::uint64_t bits = take(single ? 4 : 8);
  return single ? std::bit_cast<float>(static_cast<std::uint32_t>(bits)) : std::bit_cast<double>(bits);
}

std::string_view MsgReader::text() {
  if (kind() != Kind::kText && kind() != Kind::kBytes) return fail(), std::string_view();
  const std::uint64_t tag = take(1);
  std::size_t size = 0;
  if (tag <= 0xbf) {
    size = tag & 0x1f;
  } else {
    const std::uint64_t first = tag >= 0xd9 ? 0xd9 : 0xc4;
    size = static_cast<std::size_t>(take(std::size_t{1} << (tag - first)));
  }
  size = counted(size, 1);
  const std::string_view found(reinterpret_cast<const char*>(bytes_.data()) + at_, size);
  at_ += size;
  return found;
}

bool MsgReader::nil() {
  if (kind() != Kind::kNil) return false;
  ++at_;
  return true;
}

void MsgReader::skip() {
  // Each value announces how many follow; no recursion, so no depth to bound.
  for (std::uint64_t pending = 1; pending > 0 && ok_; --pending) {
    switch (kind()) {
      case Kind::kNil:
      case Kind::kBool: take(1); break;
      case Kind::kInteger: integer(); break;
      case Kind::kFloat: number(); break;
      case Kind::kText:
      case Kind::kBytes: text(); break;
      case Kind::kArray: pending += array(); break;
      case Kind::kMap: pending += 2 * static_cast<std::uint64_t>(map()); break;
      case Kind::kOther: {
        const std::uint64_t tag = take(1);
        const bool fixed = tag >= 0xd4 && tag <= 0xd8;
        const bool sized = tag >= 0xc7 && tag <= 0xc9;
        if (!fixed && !sized) return fail();
        const std::size_t size = fixed ? std::size_t{1} << (tag - 0xd4) : static_cast<std::size_t>(take(std::size_t{1} << (tag - 0xc7)));
        take(1);
        if (size > left()) return fail();
        at_ += size;
        break;
      }
      case Kind::kEnd: return fail();
    }
  }
}

}  // namespace braid::router
