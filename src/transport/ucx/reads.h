// SPDX-License-Identifier: Apache-2.0
// Reads over a network that has none of its own: over TCP UCX emulates them, slowly. So the reader asks the
// owner, which answers in parcels: a large piece by a rendezvous straight from its memory into the reader's,
// smaller ones together, copied on both sides, as a rendezvous of less costs more than copying. Both sides cut
// alike.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fabric/transport.h"
#include "transport/ucx/worker.h"

namespace braid::transport::ucx {

// Consecutive pieces that travel as one message.
struct Parcel {
  std::size_t first = 0;
  std::size_t count = 0;
  std::size_t bytes = 0;
  bool by_rendezvous() const;
  bool copied() const { return count > 1; }
};

// Memory for parcels that are copied, used again and again. Thread rules: under the worker's lock.
class Copies {
 public:
  using Memory = std::unique_ptr<std::byte[]>;
  Memory take();
  void give(Memory memory) { idle_.push_back(std::move(memory)); }

 private:
  std::vector<Memory> idle_;
};

// Copies a parcel's pieces, which are at `from` in their order, to where they belong.
void scatter(std::span<const fabric::Piece> pieces, const std::byte* from);

// Pieces that a rendezvous carries at its best: longer ones are cut, empty ones left out.
std::vector<fabric::Piece> cut(const std::vector<fabric::Piece>& pieces);
std::vector<Parcel> parcels_of(std::span<const fabric::Piece> pieces);

// The payload of Kind::kRead: offset and bytes of each piece.
std::string to_request(std::span<const fabric::Piece> pieces);
// Pieces of a region of `size` bytes, without local memory. False: malformed, or outside.
bool read_request(std::span<const std::byte> payload, std::size_t size, std::vector<fabric::Piece>& pieces);

// What peers have asked of regions here, and has not all been sent. Thread rules: under the worker's lock.
class Answers {
 public:
  explicit Answers(std::uint64_t transport) : transport_(transport) {}

  // `lent` counts the messages that read from `memory`, which stays until it is 0.
  struct Answer {
    std::shared_ptr<Endpoint> to;
    std::uint64_t region = 0;
    std::uint64_t read = 0;  // the reader's name of it
    std::span<const std::byte> memory;
    int* lent = nullptr;
    std::vector<fabric::Piece> pieces;
    std::vector<Parcel> parcels;
    std::size_t next = 0;
  };
  void add(Answer answer) { answers_.push_back(std::move(answer)); }
  // Sends as much as connections should hold at a time. To be called again when something was sent.
  void move_on(Worker& worker);
  // The region is no more.
  void forget(std::uint64_t region) {
    answers_.remove_if([region](const Answer& a) { return a.region == region; });
  }

 private:
  void send_next(Worker& worker, Answer& answer);

  const std::uint64_t transport_;
  std::list<Answer> answers_;
  Copies copies_;
};

}  // namespace braid::transport::ucx
