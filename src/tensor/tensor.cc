// SPDX-License-Identifier: Apache-2.0
#include "tensor/tensor.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace braid {

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i ? ", " : "") + std::to_string(shape[i]);
  }
  return text + "]";
}

std::int64_t TensorView::elements() const {
  std::int64_t n = 1;
  for (auto d : shape) n *= d;
  return n;
}

float TensorView::at(std::int64_t i) const {
  switch (dtype) {
    case DType::kF32: return static_cast<const float*>(data)[i];
    case DType::kBF16: return bf16_to_f32(static_cast<const std::uint16_t*>(data)[i]);
    case DType::kF16: return f16_to_f32(static_cast<const std::uint16_t*>(data)[i]);
    case DType::kF8E4M3: return f8e4m3_to_f32(static_cast<const std::uint8_t*>(data)[i]);
    case DType::kI8: return static_cast<const std::int8_t*>(data)[i];
    case DType::kU8: return static_cast<const std::uint8_t*>(data)[i];
    case DType::kI32: return static_cast<float>(static_cast<const std::int32_t*>(data)[i]);
    case DType::kI64: return static_cast<float>(static_cast<const std::int64_t*>(data)[i]);
    case DType::kF4E2M1: return f4e2m1_to_f32(static_cast<std::uint8_t>(static_cast<const std::uint8_t*>(data)[i / 2] >> (i % 2 * 4)));
    case DType::kE8M0: return e8m0_to_f32(static_cast<const std::uint8_t*>(data)[i]);
  }
  return 0;
}

namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

std::size_t round_up(std::size_t bytes, std::size_t to) { return (bytes + to - 1) / to * to; }

// Zero pages that cost nothing until they are touched. Null when there is not enough memory.
std::byte* map_huge(std::size_t bytes) {
  const std::size_t wanted = round_up(bytes, kHugePage);
  void* mapped = mmap(nullptr,
                      wanted + kHugePage,
                      PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                      -1,
                      0);
  if (mapped == MAP_FAILED) return nullptr;
  const auto start = reinterpret_cast<std::uintptr_t>(mapped);
  const std::size_t before = round_up(start, kHugePage) - start;
  auto* data = static_cast<std::byte*>(mapped) + before;
  if (before > 0) munmap(mapped, before);
  if (before < kHugePage) munmap(data + wanted, kHugePage - before);
  madvise(data, wanted, MADV_HUGEPAGE);
  return data;
}

std::byte* allocate_zeroed(std::size_t bytes) {
  auto* data = static_cast<std::byte*>(std::aligned_alloc(64, round_up(bytes, 64)));
  if (data != nullptr) std::memset(data, 0, bytes);
  return data;
}

void release_host(std::byte* data, std::size_t size) {
  if (size >= kHugePage) {
    munmap(data, round_up(size, kHugePage));
  } else {
    std::free(data);
  }
}

}  // namespace

Buffer::Buffer(std::size_t bytes) : size_(bytes), release_(release_host) {
  if (bytes == 0) return;
  data_ = bytes >= kHugePage ? map_huge(bytes) : allocate_zeroed(bytes);
  CHECK(data_ != nullptr, "out of memory for " + std::to_string(bytes) + " bytes");
}

Buffer::~Buffer() {
  if (data_ != nullptr) release_(data_, size_);
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)), release_(other.release_) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(release_, other.release_);
  return *this;
}

}  // namespace braid
