// SPDX-License-Identifier: Apache-2.0
#include "transport/ucx/region.h"

#include <cstring>

namespace braid::transport::ucx {
namespace {

constexpr std::size_t kMostEarly = 4096;  // messages of a stream that wait for a lost one

}  // namespace

bool Inbox::apply(std::span<const std::byte> payload) {
  const auto write = [this](std::size_t offset, std::span<const std::byte> data) {
    if (offset > memory_.size() || data.size() > memory_.size() - offset) return false;
    if (!data.empty()) std::memcpy(memory_.data() + offset, data.data(), data.size());
    return true;
  };
  const auto signal = [this](int word, std::uint64_t value) {
    words_[static_cast<std::size_t>(word)].store(value, std::memory_order_release);
    return true;
  };
  return read_records(payload, write, signal);
}

bool Inbox::take(const Head& head, std::span<const std::byte> payload) {
  Stream& stream = streams_[head.stream];
  if (head.number != stream.next) {
    if (head.number < stream.next || stream.early.size() >= kMostEarly) return false;
    stream.early.emplace(head.number, std::string(reinterpret_cast<const char*>(payload.data()), payload.size()));
    return true;
  }
  bool good = apply(payload);
  ++stream.next;
  for (auto early = stream.early.find(stream.next); good && early != stream.early.end(); early = stream.early.find(stream.next)) {
    good = apply(std::as_bytes(std::span(early->second)));
    stream.early.erase(early);
    ++stream.next;
  }
  return good;
}

}  // namespace braid::transport::ucx
