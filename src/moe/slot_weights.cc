// SPDX-License-Identifier: Apache-2.0
#include "moe/slot_weights.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace braid::moe {
namespace {

std::span<const std::byte> all_of(const Buffer& buffer) { return {buffer.data(), buffer.size()}; }

void copy(std::span<const std::byte> bytes, Buffer& into) {
  if (into.size() != bytes.size()) into = Buffer(bytes.size());
  if (!bytes.empty()) std::memcpy(into.data(), bytes.data(), bytes.size());
}

std::array<Buffer*, 5> buffers_of(ops::PackedMlp& w) { return {&w.gate_up.data, &w.gate_up.scales, &w.down.data, &w.down.scales, &w.bias}; }

template <class Header>
std::array<std::uint64_t, 5> sizes(const Header& h) {
  return {h.gate_up.data, h.gate_up.scales, h.down.data, h.down.scales, h.bias};
}

}  // namespace

SlotRecord::SlotRecord(const ops::PackedMlp& w)
    : header_{static_cast<std::int64_t>(w.format), w.hidden, w.inter, w.glu, 0, w.bias.size(), describe(w.gate_up), describe(w.down)},
      pieces_{std::as_bytes(std::span(&header_, 1)), all_of(w.gate_up.data), all_of(w.gate_up.scales), all_of(w.down.data),
              all_of(w.down.scales), all_of(w.bias)} {}

SlotRecord::Matrix SlotRecord::describe(const ops::PackedWeight& w) {
  return {static_cast<std::int64_t>(w.format), w.n, w.k, w.batch, w.data.size(), w.scales.size()};
}

std::size_t SlotRecord::bytes() const {
  std::size_t total = 0;
  for (const auto piece : pieces_) total += piece.size();
  return total;
}

std::size_t SlotRecord::buffer_bytes() const {
  std::size_t total = 0;
  for (const auto buffer : buffers()) total += aligned(buffer.size());
  return total;
}

Result<SlotRecord::Header> SlotRecord::parse(std::span<const std::byte> bytes, std::size_t room, std::size_t align) {
  Header header;
  bool good = bytes.size() >= sizeof header;
  if (good) {
    std::memcpy(&header, bytes.data(), sizeof header);
    std::uint64_t left = room;
    for (const std::uint64_t n : sizes(header)) {
      good = good && n <= left;
      if (good) left -= std::min<std::uint64_t>(left, (n + align - 1) / align * align);
    }
  }
  if (good) return header;
  return internal_error("what should be an expert's packed weights is something else (" + std::to_string(bytes.size()) + " bytes)");
}

void SlotRecord::shape(const Header& header, ops::PackedMlp& into) {
  const auto matrix = [](const Matrix& m, ops::PackedWeight& w) {
    w.format = static_cast<ops::WeightFormat>(m.format);
    w.n = m.n;
    w.k = m.k;
    w.batch = m.batch;
  };
  into.format = static_cast<ops::WeightFormat>(header.format);
  into.hidden = header.hidden;
  into.inter = header.inter;
  into.glu = header.glu;
  matrix(header.gate_up, into.gate_up);
  matrix(header.down, into.down);
}

Status SlotRecord::read(std::span<const std::byte> bytes, ops::PackedMlp& into) {
  const std::size_t room = bytes.size() - std::min(bytes.size(), sizeof(Header));
  ASSIGN_OR_RETURN(const Header header, parse(bytes, room, 1));
  shape(header, into);
  bytes = bytes.subspan(sizeof header);
  const auto buffers = buffers_of(into);
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    const std::size_t size = sizes(header)[i];
    copy(bytes.first(size), *buffers[i]);
    bytes = bytes.subspan(size);
  }
  return Status::success();
}

Status SlotRecord::check(std::span<const std::byte> header, std::size_t room) {
  ASSIGN_OR_RETURN(const Header parsed, parse(header, room, kAlign));
  (void)parsed;
  return {};
}

Status SlotRecord::read(std::span<const std::byte> head, std::span<const std::byte> bytes, ops::PackedMlp& into, Stream& stream) {
  ASSIGN_OR_RETURN(const Header header, parse(head, bytes.size(), kAlign));
  shape(header, into);
  const auto buffers = buffers_of(into);
  for (std::size_t i = 0, at = 0; i < buffers.size(); ++i) {
    const std::size_t size = sizes(header)[i];
    if (buffers[i]->size() != size) *buffers[i] = stream.allocate(size);
    if (size > 0) stream.copy(buffers[i]->data(), bytes.data() + at, size);
    at += aligned(size);
  }
  return Status::success();
}

}  // namespace braid::moe
