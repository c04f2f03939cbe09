// SPDX-License-Identifier: Apache-2.0
// What endpoints say to each other, and how a region is described to its peers.
//
// A message is a Head and a payload. Writes and signals travel as records in the payload of kRecords;
// those of one stream (a peer's handle of a region) are numbered, and applied in that order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace braid::transport::ucx {

enum class Kind : std::uint8_t {
  kAttach,    // payload: the sender's address and label; asks for kAttached or kReleased
  kAttached,
  kDetach,    // the sender gives its handle up
  kReleased,  // the region is no more
  kRecords,
  kBeat,      // the sender lives
  kRead,      // asks for pieces of a region (transport/ucx/reads.h); stream: the reader's name of it
  kParcel,    // the answer; token: the reader's name, number: which parcel
};

struct Head {
  std::uint64_t from = 0;    // the sending transport
  std::uint64_t token = 0;   // of the region
  std::uint64_t stream = 0;  // of the handle
  std::uint64_t number = 0;  // of kRecords, from 0
  Kind kind = Kind::kBeat;
};

// Appends a write of `data` at `offset`, or a signal.
void append_write(std::string& payload, std::size_t offset, std::span<const std::byte> data);
void append_signal(std::string& payload, int word, std::uint64_t value);

// Calls one of the two for each record. False when the payload is malformed; what came before has been
// called then.
bool read_records(std::span<const std::byte> payload, const std::function<bool(std::size_t, std::span<const std::byte>)>& write,
                  const std::function<bool(int, std::uint64_t)>& signal);

struct Description {
  std::uint64_t transport = 0;
  std::uint64_t token = 0;
  std::uint64_t bytes = 0;
  std::uint64_t base = 0;  // its address in the owner
  std::string label;       // of the owner, for messages
  std::string address;     // of the owner's worker
  std::string key;         // for one-sided access
};

std::string to_descriptor(const Description& description);
Result<Description> read_descriptor(std::string_view text);

}  // namespace braid::transport::ucx
