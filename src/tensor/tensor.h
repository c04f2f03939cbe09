// SPDX-License-Identifier: Apache-2.0
// Borrowed views and owned memory.
//
// A Matrix view is row-major [rows, cols] with a row stride in elements; a row is contiguous.
// Views never own: they are valid until the call that received them returns, unless a header says
// otherwise. Buffer owns zeroed memory and neither copies nor grows: the host's, 64-byte aligned
// (2 MiB aligned and advised as huge pages from 2 MiB on), or a device's (Stream::allocate).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace braid {

using Shape = std::vector<std::int64_t>;
std::string to_string(const Shape& shape);  // "[2, 3]"

// Contiguous row-major tensor in memory that somebody else owns (a mapped checkpoint, say).
struct TensorView {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;

  std::int64_t elements() const;
  std::size_t bytes() const { return bytes_of(dtype, elements()); }
  std::int64_t rows() const { return shape.empty() ? 1 : shape.front(); }
  std::int64_t cols() const { return shape.empty() ? 1 : elements() / rows(); }
  // Element i as float; slow, for loading and tests.
  float at(std::int64_t i) const;
};

// A strided matrix of one element type.
template <class T>
struct Matrix {
  T* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;  // elements from one row to the next

  Matrix() = default;
  Matrix(T* d, std::int64_t r, std::int64_t c) : data(d), rows(r), cols(c), stride(c) {}
  Matrix(T* d, std::int64_t r, std::int64_t c, std::int64_t s)
      : data(d), rows(r), cols(c), stride(s) {}
  T* row(std::int64_t i) const { return data + i * stride; }
};

// A strided matrix whose element type (kF32 or kBF16) is known at run time.
struct Activations {
  void* data = nullptr;
  DType dtype = DType::kF32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;  // elements

  std::byte* row(std::int64_t i) const {
    return static_cast<std::byte*>(data) + static_cast<std::size_t>(i * stride) * size_of(dtype);
  }
  // Columns [first, first + count) of every row.
  Activations columns(std::int64_t first, std::int64_t count) const {
    return {static_cast<std::byte*>(data) + static_cast<std::size_t>(first) * size_of(dtype), dtype,
            rows, count, stride};
  }
  Activations slice_rows(std::int64_t first, std::int64_t count) const {
    return {row(first), dtype, count, cols, stride};
  }
};

class Buffer {
 public:
  Buffer() = default;
  // Gives memory back to whom it came from.
  using Release = void (*)(std::byte* data, std::size_t size);

  explicit Buffer(std::size_t bytes);
  // Takes over memory that `release` will give back; data may be null when size is 0.
  Buffer(std::byte* data, std::size_t size, Release release) : data_(data), size_(size), release_(release) {}
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  Release release_ = nullptr;
};

}  // namespace braid
