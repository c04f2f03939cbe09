// SPDX-License-Identifier: Apache-2.0
// What a step tells its kernels, and what it reads back: small arrays that the host makes or reads.
// On a device with memory of its own they travel together, once a step, through memory that copies
// reach at full speed; where memory is shared nothing is copied. Thread rules: those of the stream.
#pragma once

#include <concepts>
#include <cstring>
#include <span>

#include "tensor/device.h"

namespace braid {

// An array where the host reads it, and the same where kernels read it.
template <class T>
struct Mirror {
  const T* host = nullptr;
  const T* device = nullptr;
  std::size_t count = 0;

  Mirror() = default;
  Mirror(const T* h, const T* d, std::size_t n) : host(h), device(d), count(n) {}
  // The same array for both: where memory is shared.
  template <class Array>
    requires(std::convertible_to<Array, std::span<const T>> && !std::same_as<std::remove_cvref_t<Array>, Mirror>)
  Mirror(Array&& both) : Mirror(std::span<const T>(both).data(), std::span<const T>(both).data(), std::span<const T>(both).size()) {}

  std::size_t size() const { return count; }
  bool empty() const { return count == 0; }
  const T& operator[](std::size_t i) const { return host[i]; }
  const T* begin() const { return host; }
  const T* end() const { return host + count; }
};

// Arrays from the host to the kernels of one step.
class Staging {
 public:
  explicit Staging(Stream& stream) : stream_(stream) {}

  // A new step, of at most `bytes` in all with 16 for each array; what the last one put is void, and
  // its kernels are done.
  void begin(std::size_t bytes);
  // The array must stay as it is until the step's kernels are done, also when the vector that holds it
  // moves.
  template <class T>
  Mirror<T> put(std::span<const T> values) {
    if (stream_.unified()) return values;
    return {values.data(), static_cast<const T*>(put_bytes(values.data(), values.size_bytes())), values.size()};
  }
  // Replaces what was put there, before send().
  template <class T>
  void replace(const Mirror<T>& place, std::span<const T> values) {
    if (!stream_.unified()) replace_bytes(place.device, values.data(), values.size_bytes());
  }
  // Everything put since begin(), on its way; before the first kernel that reads it.
  void send();

 private:
  // Where kernels will find a copy of the bytes.
  const void* put_bytes(const void* from, std::size_t bytes);
  void replace_bytes(const void* place, const void* from, std::size_t bytes);

  Stream& stream_;
  Buffer host_, device_;
  std::size_t used_ = 0;
};

// Memory of kernels, read by the host.
class HostCopy {
 public:
  // Memory of the host for so much, where kernels' memory is not the host's. Valid until the next call.
  template <class T>
  T* room(Stream& stream, std::size_t count) {
    fit(stream, count * sizeof(T));
    return buffer_.as<T>();
  }
  // Waits for all that was enqueued. Valid until the next call.
  template <class T>
  Result<const T*> read(Stream& stream, const T* data, std::size_t count) {
    ASSIGN_OR_RETURN(const void* const at, read_bytes(stream, data, count * sizeof(T)));
    return static_cast<const T*>(at);
  }

 private:
  void fit(Stream& stream, std::size_t bytes);
  Result<const void*> read_bytes(Stream& stream, const void* data, std::size_t bytes);

  Buffer buffer_;
};

// A copy of host memory for kernels.
Buffer upload(Stream& stream, const void* from, std::size_t bytes);
template <class T>
Buffer upload(Stream& stream, const std::vector<T>& values) {
  return upload(stream, values.data(), values.size() * sizeof(T));
}

}  // namespace braid
