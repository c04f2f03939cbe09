// SPDX-License-Identifier: Apache-2.0
// One-sided communication between ranks over one medium, in the order of a transfer's life:
//   register_memory -> (descriptors travel by other means) -> connect -> prepare -> post -> poll;
// destroying a handle releases it. Collectives (fabric/group.h) are built above this interface.
//
// Order: a signal to a region arrives after every earlier posted transfer and write to the same
// region by the same thread that polled true or returned. Signals are 64-bit words at the head of
// a region that only grow; word i should have one writer.
// Thread rules: a handle is used by one thread at a time; ring() may be called from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace braid::fabric {

inline constexpr int kSignalWords = 1024;  // of every region

struct Capabilities {
  bool direct = false;          // peers' memory is reached by loads and stores
  bool detects_death = false;   // alive() tells within milliseconds that a process has ended
  std::size_t max_message = 0;  // bytes of one piece; larger ones must be split by the caller
};

// Memory of this process that peers may read and write.
class Region {
 public:
  virtual ~Region() = default;
  virtual std::span<std::byte> memory() const = 0;
  virtual std::string descriptor() const = 0;  // for the peers' connect()
  virtual std::uint64_t signal(int word) const = 0;
};

// How a peer is reached.
struct Path {
  std::string name;  // "shm", "ucx tcp/eth0"
  double rated = 0;  // bytes a second that it is made for; 0: it does not say
};

// A peer's region, seen from here.
class RemoteRegion {
 public:
  virtual ~RemoteRegion() = default;
  virtual std::size_t size() const = 0;
  virtual std::byte* direct() const = 0;  // null where only transfers reach it
  virtual bool alive() const = 0;         // false: its process has ended or released the region
  virtual Path path() const = 0;
};

enum class Direction { kWrite, kRead };

// `bytes` between local memory and `offset` of the remote region. Local memory must be inside a
// region of the same transport unless the transport has direct access.
struct Piece {
  std::byte* local = nullptr;
  std::size_t offset = 0;
  std::size_t bytes = 0;
};

class Transfer {
 public:
  virtual ~Transfer() = default;
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual std::string_view name() const = 0;
  virtual Capabilities capabilities() const = 0;

  virtual Result<std::unique_ptr<Region>> register_memory(std::size_t bytes) = 0;
  // Errors: a descriptor of another transport, a peer that is gone or not reachable from here.
  virtual Result<std::unique_ptr<RemoteRegion>> connect(std::string_view descriptor) = 0;

  // A transfer that may be posted any number of times; refused when a piece leaves the region.
  virtual Result<std::unique_ptr<Transfer>> prepare(RemoteRegion& remote, Direction direction,
                                                    std::vector<Piece> pieces) = 0;
  virtual Status post(Transfer& transfer) = 0;
  // True when the last post is complete: its memory may be reused, written data will be there
  // before any later signal.
  virtual Result<bool> poll(Transfer& transfer) = 0;

  // One write; `data` may be reused on return. It may stay behind until the next signal to the region.
  virtual Status write(RemoteRegion& remote, std::size_t offset, std::span<const std::byte> data) = 0;
  // Sets word `word` of the remote region, and wakes a thread that waits there.
  virtual Status signal(RemoteRegion& remote, int word, std::uint64_t value) = 0;

  // Returns when ready() is true (true) or the time is over (false). ready() is asked again after
  // every signal and ring; it must be cheap.
  virtual bool wait(Region& region, const std::function<bool()>& ready, TimePoint until) = 0;
  // Makes a thread in wait() ask ready() again. From any thread.
  virtual void ring(Region& region) = 0;
};

}  // namespace braid::fabric
