// SPDX-License-Identifier: Apache-2.0
// The packed weights of one expert as a record of bytes that another rank can make the same weights
// of, if its kernel is the same: a header of sizes, then the buffers. Experts of one layer may have
// records of different lengths.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"
#include "ops/grouped_mlp.h"

namespace braid::moe {

class SlotRecord {
  struct Matrix {
    std::int64_t format, n, k, batch;
    std::uint64_t data, scales;
  };
  struct Header {
    std::int64_t format, hidden, inter;
    ops::Glu glu;
    std::uint32_t unused;
    std::uint64_t bias;
    Matrix gate_up, down;
  };

 public:
  static constexpr std::size_t kHeaderBytes = sizeof(Header);
  static constexpr std::size_t kAlign = 256;

  // `weights` outlive the record and do not change.
  explicit SlotRecord(const ops::PackedMlp& weights);
  SlotRecord(const SlotRecord&) = delete;
  SlotRecord& operator=(const SlotRecord&) = delete;

  // In the order in which they follow each other in the record.
  std::span<const std::span<const std::byte>> pieces() const { return pieces_; }
  std::size_t bytes() const;
  // The weights of a record at the beginning of `bytes`; buffers of `into` that fit are used again.
  // Errors: bytes that are no record.
  static Status read(std::span<const std::byte> bytes, ops::PackedMlp& into);

  // Where kernels have memory of their own, the header travels by itself and the buffers lie in memory for kernels, each
  // at a multiple of kAlign.
  std::span<const std::byte> header() const { return pieces_.front(); }
  std::span<const std::span<const std::byte>> buffers() const { return std::span(pieces_).subspan(1); }
  static constexpr std::size_t aligned(std::size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }
  std::size_t buffer_bytes() const;
  // As above, by copies of the stream.
  static Status read(std::span<const std::byte> header, std::span<const std::byte> buffers, ops::PackedMlp& into, Stream& stream);
  // Whether that would succeed with `room` bytes of buffers.
  static Status check(std::span<const std::byte> header, std::size_t room);

 private:
  static Matrix describe(const ops::PackedWeight& weight);
  // Errors: the buffers do not lie in `room` bytes.
  static Result<Header> parse(std::span<const std::byte> header, std::size_t room, std::size_t align);
  static void shape(const Header& header, ops::PackedMlp& into);

  Header header_;
  std::array<std::span<const std::byte>, 6> pieces_;
};

}  // namespace braid::moe
