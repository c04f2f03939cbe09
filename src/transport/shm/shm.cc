// SPDX-License-Identifier: Apache-2.0
#include "transport/shm/shm.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstring>

#include "transport/shm/region.h"

namespace braid::transport::shm {
namespace {

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// A message longer than this is written around the caches from here on: its reader finds no part of it there anyway.
constexpr std::size_t kStreamFrom = std::size_t{8} << 20;

// memcpy without reading what is overwritten; seen by others after fence().
void stream_copy(std::byte* to, const std::byte* from, std::size_t bytes) {
#if defined(__x86_64__)
  const std::size_t head = std::min(bytes, (64 - reinterpret_cast<std::uintptr_t>(to) % 64) % 64);
  std::memcpy(to, from, head);
  std::size_t at = head;
  for (; at + 64 <= bytes; at += 64) {
    for (std::size_t i = 0; i < 64; i += 16) {
      const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + at + i));
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + at + i), v);
    }
  }
  std::memcpy(to + at, from + at, bytes - at);
#else
  std::memcpy(to, from, bytes);
#endif
}

void fence() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

class ShmRegion final : public fabric::Region {
 public:
  explicit ShmRegion(std::unique_ptr<Mapping> mapping) : mapping_(std::move(mapping)) {}
  std::span<std::byte> memory() const override { return {mapping_->memory(), mapping_->bytes()}; }
  std::string descriptor() const override { return mapping_->descriptor(); }
  std::uint64_t signal(int word) const override { return header().words[word].load(std::memory_order_acquire); }
  Header& header() const { return mapping_->header(); }

 private:
  std::unique_ptr<Mapping> mapping_;
};

class ShmRemote final : public fabric::RemoteRegion {
 public:
  explicit ShmRemote(std::unique_ptr<Mapping> mapping) : mapping_(std::move(mapping)) {}
  std::size_t size() const override { return mapping_->bytes(); }
  std::byte* direct() const override { return mapping_->memory(); }
  bool alive() const override { return mapping_->owner_alive(); }
  fabric::Path path() const override { return {"shm", 0}; }
  Header& header() const { return mapping_->header(); }

  void write(std::size_t offset, std::span<const std::byte> data) {
    if (data.empty()) return;
    written_ += data.size();
    if (written_ < kStreamFrom) std::memcpy(direct() + offset, data.data(), data.size());
    else stream_copy(direct() + offset, data.data(), data.size());
  }
  void signal(int word, std::uint64_t value) {
    if (written_ >= kStreamFrom) fence();
    written_ = 0;
    header().words[word].store(value, std::memory_order_release);
    shm::ring(header());
  }

 private:
  std::unique_ptr<Mapping> mapping_;
  std::size_t written_ = 0;  // since the last signal
};

struct ShmTransfer final : fabric::Transfer {
  ShmRemote* remote = nullptr;
  fabric::Direction direction = fabric::Direction::kWrite;
  std::vector<fabric::Piece> pieces;
};

class Shm final : public fabric::Transport {
 public:
  explicit Shm(const Options& options) : options_(options) {}
  std::string_view name() const override { return "shm"; }
  fabric::Capabilities capabilities() const override { return {true, true, std::size_t{1} << 62}; }

  Result<std::unique_ptr<fabric::Region>> register_memory(std::size_t bytes) override {
    ASSIGN_OR_RETURN(auto mapping, Mapping::create(bytes));
    return std::unique_ptr<fabric::Region>(new ShmRegion(std::move(mapping)));
  }

  Result<std::unique_ptr<fabric::RemoteRegion>> connect(std::string_view descriptor) override {
    ASSIGN_OR_RETURN(auto mapping, Mapping::open(descriptor));
    return std::unique_ptr<fabric::RemoteRegion>(new ShmRemote(std::move(mapping)));
  }

  Result<std::unique_ptr<fabric::Transfer>> prepare(fabric::RemoteRegion& remote, fabric::Direction direction,
                                                    std::vector<fabric::Piece> pieces) override {
    for (const auto& piece : pieces) RETURN_IF_ERROR(inside(remote, piece.offset, piece.bytes));
    auto transfer = std::make_unique<ShmTransfer>();
    transfer->remote = &static_cast<ShmRemote&>(remote);
    transfer->direction = direction;
    transfer->pieces = std::move(pieces);
    return std::unique_ptr<fabric::Transfer>(std::move(transfer));
  }

  Status post(fabric::Transfer& handle) override {
    const auto& transfer = static_cast<ShmTransfer&>(handle);
    if (!transfer.remote->alive()) return gone();
    for (const auto& piece : transfer.pieces) {
      std::byte* there = transfer.remote->direct() + piece.offset;
      if (transfer.direction == fabric::Direction::kWrite) std::memcpy(there, piece.local, piece.bytes);
      else std::memcpy(piece.local, there, piece.bytes);
    }
    return Status::success();
  }

  Result<bool> poll(fabric::Transfer&) override { return true; }

  Status write(fabric::RemoteRegion& remote, std::size_t offset, std::span<const std::byte> data) override {
    RETURN_IF_ERROR(inside(remote, offset, data.size()));
    static_cast<ShmRemote&>(remote).write(offset, data);
    return Status::success();
  }

  Status signal(fabric::RemoteRegion& remote, int word, std::uint64_t value) override {
    static_cast<ShmRemote&>(remote).signal(word, value);
    return Status::success();
  }

  bool wait(fabric::Region& region, const std::function<bool()>& ready, TimePoint until) override {
    Header& header = static_cast<ShmRegion&>(region).header();
    const TimePoint stop_spinning = std::min(until, std::chrono::steady_clock::now() + options_.spin);
    do {
      for (int i = 0; i < 64; ++i) {
        if (ready()) return true;
        pause();
      }
    } while (std::chrono::steady_clock::now() < stop_spinning);
    for (;;) {
      const std::uint32_t bell = header.bell.load();
      if (ready()) return true;
      if (std::chrono::steady_clock::now() >= until) return false;
      sleep_on(header, bell, until);
    }
  }

  void ring(fabric::Region& region) override { shm::ring(static_cast<ShmRegion&>(region).header()); }

 private:
  static Error gone() { return {ErrorCode::kUnavailable, "the peer's process has ended", {}}; }
  static Status inside(const fabric::RemoteRegion& remote, std::size_t offset, std::size_t bytes) {
    if (offset <= remote.size() && bytes <= remote.size() - offset) return Status::success();
    return invalid_argument("bytes " + std::to_string(offset) + " to " + std::to_string(offset + bytes) +
                            " are outside a region of " + std::to_string(remote.size()));
  }

  const Options options_;
};

}  // namespace

std::unique_ptr<fabric::Transport> transport(const Options& options) { return std::make_unique<Shm>(options); }

}  // namespace braid::transport::shm
