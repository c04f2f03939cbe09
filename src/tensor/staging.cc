// SPDX-License-Identifier: Apache-2.0
#include "tensor/staging.h"

#include "base/check.h"

namespace braid {
namespace {

constexpr std::size_t kAlign = 16;

}  // namespace

void Staging::begin(std::size_t bytes) {
  used_ = 0;
  if (stream_.unified() || bytes <= host_.size()) return;
  host_ = stream_.allocate_host(bytes + bytes / 2);
  device_ = stream_.allocate(host_.size());
}

const void* Staging::put_bytes(const void* from, std::size_t bytes) {
  const std::size_t at = used_;
  used_ += (bytes + kAlign - 1) / kAlign * kAlign;
  CHECK(used_ <= host_.size() || host_.size() == 0, "a step told its kernels more than it had announced");
  if (host_.size() == 0) return nullptr;
  if (bytes > 0) std::memcpy(host_.data() + at, from, bytes);
  return device_.data() + at;
}

void Staging::replace_bytes(const void* place, const void* from, std::size_t bytes) {
  if (host_.size() > 0 && bytes > 0) std::memcpy(host_.data() + (static_cast<const std::byte*>(place) - device_.data()), from, bytes);
}

void Staging::send() {
  if (used_ > 0) stream_.copy(device_.data(), host_.data(), used_);
}

void HostCopy::fit(Stream& stream, std::size_t bytes) {
  if (buffer_.size() < bytes) buffer_ = stream.allocate_host(bytes + bytes / 2);
}

Result<const void*> HostCopy::read_bytes(Stream& stream, const void* data, std::size_t bytes) {
  if (!stream.unified()) {
    fit(stream, bytes);
    stream.copy(buffer_.data(), data, bytes);
  }
  RETURN_IF_ERROR(stream.wait());
  return stream.unified() ? data : buffer_.data();
}

Buffer upload(Stream& stream, const void* from, std::size_t bytes) {
  Buffer buffer = stream.allocate(bytes);
  stream.copy(buffer.data(), from, bytes);
  return buffer;
}

}  // namespace braid
