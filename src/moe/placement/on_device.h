// SPDX-License-Identifier: Apache-2.0
// What kernels must know of a layer's placement, and what they tell of it, on devices whose memory is not the
// host's. Memory keeps its place while experts move, so that recorded steps stay true.
// Thread rules: those of the stream.
#pragma once

#include <cstdint>
#include <span>

#include "moe/placement/placement.h"
#include "ops/exchange.h"
#include "tensor/device.h"

namespace braid::moe {

// Which slots each expert has.
class DevicePlacement {
 public:
  bool empty() const { return first_.size() == 0; }
  // For kernels after this call. In the same memory as long as experts and slots stay as many.
  void set(const Placement& placement, Stream& stream);
  // Valid until then.
  ops::Exchange::Slots slots() const { return {each_, first_.as<std::int32_t>(), replicas_.as<std::int32_t>()}; }

 private:
  int each_ = 0;
  Buffer first_, replicas_;
};

// How many rows the slots of some layers have computed.
class SlotRows {
 public:
  SlotRows(std::size_t layers, std::size_t slots, Stream& stream);

  // Kernels add to it.
  std::int64_t* counters(std::size_t layer) const { return counters_.as<std::int64_t>() + layer * slots_; }
  // After a show() that the stream was waited for.
  std::span<const std::int64_t> shown(std::size_t layer) const { return {shown_.as<std::int64_t>() + layer * slots_, slots_}; }
  // Lets the host see what kernels before this call have counted.
  void show();

 private:
  const std::size_t slots_;
  Stream& stream_;
  const Buffer counters_, shown_;
};

}  // namespace braid::moe
