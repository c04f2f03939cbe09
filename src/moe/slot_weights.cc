// SPDX-License-Identifier: Apache-2.0
#include "moe/slot_weights.h"

#include <cstring>
#include <string>

namespace braid::moe {
namespace {

std::span<const std::byte> all_of(const Buffer& buffer) { return {buffer.data(), buffer.size()}; }

void copy(std::span<const std::byte> bytes, Buffer& into) {
  if (into.size() != bytes.size()) into = Buffer(bytes.size());
  if (!bytes.empty()) std::memcpy(into.data(), bytes.data(), bytes.size());
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

std::span<const std::byte> SlotRecord::fill(const Matrix& m, std::span<const std::byte> bytes, ops::PackedWeight& into) {
  into.format = static_cast<ops::WeightFormat>(m.format);
  into.n = m.n;
  into.k = m.k;
  into.batch = m.batch;
  copy(bytes.first(m.data), into.data);
  copy(bytes.subspan(m.data, m.scales), into.scales);
  return bytes.subspan(m.data + m.scales);
}

Status SlotRecord::read(std::span<const std::byte> bytes, ops::PackedMlp& into) {
  Header header;
  bool good = bytes.size() >= sizeof header;
  if (good) {
    std::memcpy(&header, bytes.data(), sizeof header);
    bytes = bytes.subspan(sizeof header);
    std::uint64_t left = bytes.size();
    for (const std::uint64_t n : {header.gate_up.data, header.gate_up.scales, header.down.data, header.down.scales, header.bias}) {
      good = good && n <= left;
      if (good) left -= n;
    }
  }
  if (!good) return internal_error("what should be an expert's packed weights is something else (" + std::to_string(bytes.size()) + " bytes)");
  into.format = static_cast<ops::WeightFormat>(header.format);
  into.hidden = header.hidden;
  into.inter = header.inter;
  into.glu = header.glu;
  copy(fill(header.down, fill(header.gate_up, bytes, into.gate_up), into.down).first(header.bias), into.bias);
  return Status::success();
}

}  // namespace braid::moe
