// SPDX-License-Identifier: Apache-2.0
#include "transport/ucx/reads.h"

#include <algorithm>
#include <cstring>

namespace braid::transport::ucx {
namespace {

constexpr std::size_t kLongest = std::size_t{512} << 10;
constexpr std::size_t kShortestAlone = std::size_t{128} << 10;
constexpr std::size_t kTogether = std::size_t{288} << 10;
constexpr std::size_t kShortestRendezvous = std::size_t{32} << 10;
constexpr std::size_t kWindow = std::size_t{1} << 20;  // bytes on their way to a reader, beside the last parcel

struct Wanted {
  std::uint64_t offset;
  std::uint64_t bytes;
};

}  // namespace

bool Parcel::by_rendezvous() const { return bytes >= kShortestRendezvous; }

Copies::Memory Copies::take() {
  if (idle_.empty()) return std::make_unique_for_overwrite<std::byte[]>(kTogether);
  Memory memory = std::move(idle_.back());
  idle_.pop_back();
  return memory;
}

void scatter(std::span<const fabric::Piece> pieces, const std::byte* from) {
  for (const auto& piece : pieces) {
    std::memcpy(piece.local, from, piece.bytes);
    from += piece.bytes;
  }
}

std::vector<fabric::Piece> cut(const std::vector<fabric::Piece>& pieces) {
  std::vector<fabric::Piece> all;
  for (const auto& piece : pieces) {
    for (std::size_t at = 0; at < piece.bytes; at += kLongest) all.push_back({piece.local + at, piece.offset + at, std::min(kLongest, piece.bytes - at)});
  }
  return all;
}

std::vector<Parcel> parcels_of(std::span<const fabric::Piece> pieces) {
  std::vector<Parcel> parcels;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const std::size_t bytes = pieces[i].bytes;
    const bool alone = bytes >= kShortestAlone || parcels.empty() || pieces[parcels.back().first].bytes >= kShortestAlone;
    if (!alone && parcels.back().bytes + bytes <= kTogether) {
      ++parcels.back().count;
      parcels.back().bytes += bytes;
    } else {
      parcels.push_back({i, 1, bytes});
    }
  }
  return parcels;
}

std::string to_request(std::span<const fabric::Piece> pieces) {
  std::string payload;
  payload.reserve(pieces.size() * sizeof(Wanted));
  for (const auto& piece : pieces) {
    const Wanted wanted{piece.offset, piece.bytes};
    payload.append(reinterpret_cast<const char*>(&wanted), sizeof wanted);
  }
  return payload;
}

bool read_request(std::span<const std::byte> payload, std::size_t size, std::vector<fabric::Piece>& pieces) {
  if (payload.size() % sizeof(Wanted) != 0) return false;
  for (; !payload.empty(); payload = payload.subspan(sizeof(Wanted))) {
    Wanted wanted;
    std::memcpy(&wanted, payload.data(), sizeof wanted);
    if (wanted.bytes == 0 || wanted.bytes > kLongest || wanted.offset > size || wanted.bytes > size - wanted.offset) return false;
    pieces.push_back({nullptr, wanted.offset, wanted.bytes});
  }
  return true;
}

void Answers::move_on(Worker& worker) {
  answers_.remove_if([&](Answer& a) {
    while (!a.to->failed && a.next < a.parcels.size() && a.to->in_flight < kWindow) send_next(worker, a);
    return a.to->failed || a.next == a.parcels.size();
  });
}

void Answers::send_next(Worker& worker, Answer& a) {
  const Head head{transport_, a.read, 0, a.next, Kind::kParcel};
  const Parcel& parcel = a.parcels[a.next++];
  const auto pieces = std::span(a.pieces).subspan(parcel.first, parcel.count);
  if (parcel.by_rendezvous() && !parcel.copied()) {
    ++*a.lent;
    return worker.lend(a.to, head, a.memory.subspan(pieces[0].offset, pieces[0].bytes), [lent = a.lent] { --*lent; });
  }
  if (!parcel.by_rendezvous()) {
    std::string payload;
    for (const auto& piece : pieces) payload.append(reinterpret_cast<const char*>(a.memory.data()) + piece.offset, piece.bytes);
    return worker.send(a.to, head, std::move(payload));
  }
  const std::shared_ptr<Copies::Memory> copy = std::make_shared<Copies::Memory>(copies_.take());
  std::byte* at = copy->get();
  for (const auto& piece : pieces) at = std::copy_n(a.memory.data() + piece.offset, piece.bytes, at);
  worker.lend(a.to, head, {copy->get(), parcel.bytes}, [this, copy] { copies_.give(std::move(*copy)); });
}

}  // namespace braid::transport::ucx
