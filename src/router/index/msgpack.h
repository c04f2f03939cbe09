// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: reads MessagePack in place. Every read fails softly: once something is not as
// asked, ok() is false and all further reads give nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace braid::router {

class MsgReader {
 public:
  enum class Kind { kNil, kBool, kInteger, kFloat, kText, kBytes, kArray, kMap, kOther, kEnd };

  explicit MsgReader(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  bool ok() const { return ok_; }
  bool ended() const { return at_ == bytes_.size(); }
  Kind kind() const;
  std::size_t left() const { return bytes_.size() - at_; }

  std::size_t array();  // its size; never more than bytes are left
  std::size_t map();
  std::uint64_t integer();  // two's complement
  double number();          // of an integer too
  std::string_view text();  // of bytes too
  bool nil();               // takes it if there is one
  void skip();              // one value of any kind

 private:
  void fail() {
    ok_ = false;
    at_ = bytes_.size();
  }
  std::uint64_t take(std::size_t size);
  std::size_t length(std::size_t size_bytes);
  std::size_t counted(std::size_t count, std::size_t each);

  std::span<const std::uint8_t> bytes_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

}  // namespace braid::router
