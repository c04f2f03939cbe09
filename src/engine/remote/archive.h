// SPDX-License-Identifier: Apache-2.0
// Plain data as bytes and back, for messages between processes of one binary. A type says once, in
// fields(archive, value), what it consists of; Writer and Reader visit the same list. Numbers are
// little-endian, strings and lists carry their length. A Reader never reads past its bytes: after
// bad input ok() is false and values are defaults.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace braid::engine {

template <class T>
concept Plain = std::is_arithmetic_v<T> || std::is_enum_v<T>;

class Writer {
 public:
  std::string take() { return std::move(bytes_); }

  template <Plain T>
  void field(const T& value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void field(const std::string& text) {
    field(static_cast<std::uint64_t>(text.size()));
    bytes_ += text;
  }
  template <class T>
  void field(const std::optional<T>& value) {
    field(value.has_value());
    if (value) field(*value);
  }
  template <class T>
  void field(const std::vector<T>& list) {
    field(static_cast<std::uint64_t>(list.size()));
    if constexpr (Plain<T>) bytes_.append(reinterpret_cast<const char*>(list.data()), list.size() * sizeof(T));
    else for (const T& item : list) field(item);
  }
  template <class K, class V>
  void field(const std::map<K, V>& map) {
    field(static_cast<std::uint64_t>(map.size()));
    for (const auto& [key, value] : map) {
      field(key);
      field(value);
    }
  }
  template <class T>
    requires requires(Writer& w, T& v) { fields(w, v); }
  void field(const T& value) {
    fields(*this, const_cast<T&>(value));
  }
  template <class... T>
  void all(const T&... values) {
    (field(values), ...);
  }

 private:
  std::string bytes_;
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  bool ok() const { return ok_; }
  bool done() const { return ok_ && rest_.empty(); }

  void field(bool& value) {
    std::uint8_t byte = 0;
    field(byte);
    value = byte == 1;
    ok_ = ok_ && byte <= 1;
  }

  template <Plain T>
  void field(T& value) {
    if (!enough(sizeof value)) return;
    std::memcpy(&value, rest_.data(), sizeof value);
    rest_.remove_prefix(sizeof value);
  }
  void field(std::string& text) {
    const std::uint64_t size = length(1);
    text.assign(rest_.substr(0, size));
    rest_.remove_prefix(size);
  }
  template <class T>
  void field(std::optional<T>& value) {
    bool present = false;
    field(present);
    value.reset();
    if (present && ok_) field(value.emplace());
  }
  template <class T>
  void field(std::vector<T>& list) {
    const std::uint64_t size = length(Plain<T> ? sizeof(T) : 1);
    list.clear();
    if constexpr (Plain<T>) {
      list.resize(size);
      if (size > 0) std::memcpy(list.data(), rest_.data(), size * sizeof(T));
      rest_.remove_prefix(size * sizeof(T));
    } else {
      for (std::uint64_t i = 0; i < size && ok_; ++i) field(list.emplace_back());
    }
  }
  template <class K, class V>
  void field(std::map<K, V>& map) {
    const std::uint64_t size = length(sizeof(K));
    map.clear();
    for (std::uint64_t i = 0; i < size && ok_; ++i) {
      K key{};
      field(key);
      field(map[key]);
    }
  }
  template <class T>
    requires requires(Reader& r, T& v) { fields(r, v); }
  void field(T& value) {
    fields(*this, value);
  }
  template <class... T>
  void all(T&... values) {
    (field(values), ...);
  }

 private:
  bool enough(std::uint64_t bytes) {
    if (bytes > rest_.size()) ok_ = false;
    return ok_;
  }
  // A list's length, refused when its items of `each` bytes cannot follow.
  std::uint64_t length(std::uint64_t each) {
    std::uint64_t size = 0;
    field(size);
    if (size > rest_.size() / each) ok_ = false;
    return ok_ ? size : 0;
  }

  std::string_view rest_;
  bool ok_ = true;
};

template <class T>
std::string to_bytes(const T& value) {
  Writer writer;
  writer.field(value);
  return writer.take();
}

// False when the bytes are not exactly one T.
template <class T>
bool from_bytes(std::string_view bytes, T& value) {
  Reader reader(bytes);
  reader.field(value);
  return reader.done();
}

}  // namespace braid::engine
