// SPDX-License-Identifier: Apache-2.0
#include "moe/placement/on_device.h"

#include <vector>

namespace braid::moe {
namespace {

void write(Buffer& buffer, const std::vector<std::int32_t>& values, std::size_t room, Stream& stream) {
  if (buffer.size() != room * sizeof(std::int32_t)) buffer = stream.allocate(room * sizeof(std::int32_t));
  if (buffer.data()) stream.copy(buffer.data(), values.data(), values.size() * sizeof(std::int32_t));
}

}  // namespace

void DevicePlacement::set(const Placement& placement, Stream& stream) {
  std::vector<std::int32_t> first{0}, replicas;
  for (std::int32_t e = 0; e < placement.experts(); ++e) {
    const auto slots = placement.slots_of(e);
    replicas.insert(replicas.end(), slots.begin(), slots.end());
    first.push_back(static_cast<std::int32_t>(replicas.size()));
  }
  each_ = placement.slots_per_rank();
  write(first_, first, first.size(), stream);
  write(replicas_, replicas, static_cast<std::size_t>(placement.slots()), stream);
}

SlotRows::SlotRows(std::size_t layers, std::size_t slots, Stream& stream)
    : slots_(slots), stream_(stream), counters_(stream.allocate(layers * slots * sizeof(std::int64_t))),
      shown_(stream.allocate_host(layers * slots * sizeof(std::int64_t))) {}

void SlotRows::show() {
  if (shown_.data()) stream_.copy(shown_.data(), counters_.data(), shown_.size());
}

}  // namespace braid::moe
