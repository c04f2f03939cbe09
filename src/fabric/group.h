// SPDX-License-Identifier: Apache-2.0
// A group of ranks that share windows of memory and small messages.
//
// Every wait ends by the group's timeout, or sooner when the peer's process is found dead or the group
// is given up; the error names rank, peer, phase, layer, expected and seen.
// Thread rules: collective calls are made by one thread of every rank, in the same order.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fabric/transport.h"

namespace braid::fabric {

using Rank = int;

// How ranks learn of each other before they share memory.
class Bootstrap {
 public:
  virtual ~Bootstrap() = default;
  virtual Rank rank() const = 0;
  virtual int size() const = 0;
  // What messages and metrics call a rank of the group: its number in the whole deployment.
  virtual int number_of(Rank rank) const { return rank; }
  // Collective: every rank's text, in the order of ranks.
  virtual Result<std::vector<std::string>> all_gather(const std::string& mine) = 0;
  // Turns true when the group is given up, because another takes its place; waits end soon then. Null:
  // that never happens.
  virtual std::shared_ptr<const std::atomic<bool>> given_up() const { return nullptr; }
};

// Where a wait happens, for its error.
struct Site {
  const char* phase = "";
  int layer = -1;
};

// The same number of bytes on every rank of a group, written by its peers.
class Window {
 public:
  Window(const Bootstrap& bootstrap, Transport& transport, Duration timeout, std::string name, std::unique_ptr<Region> mine,
         std::vector<std::unique_ptr<RemoteRegion>> peers);

  Rank rank() const { return rank_; }
  int size() const { return static_cast<int>(peers_.size()); }
  // As Bootstrap::number_of().
  int number_of(Rank rank) const { return numbers_[static_cast<std::size_t>(rank)]; }
  std::span<std::byte> local() const { return mine_->memory(); }
  // The window of a peer, where loads and stores reach it, or null; own rank: local().
  std::byte* direct(Rank peer) const;

  Path path(Rank peer) const { return peer == rank_ ? Path{} : peers_[static_cast<std::size_t>(peer)]->path(); }

  // Copies into the peer's window; done on return.
  Status put(Rank peer, std::size_t offset, std::span<const std::byte> data);
  // Sets a word of the peer after all earlier puts (and direct stores) to it.
  Status signal(Rank peer, int word, std::uint64_t value);
  std::uint64_t seen(int word) const { return mine_->signal(word); }
  // Until the own word, written by `peer`, is at least `value`.
  Status wait(Rank peer, int word, std::uint64_t value, const Site& site);
  // Until ready() or `until`; no peer is held responsible.
  bool wait_until(const std::function<bool()>& ready, TimePoint until) { return transport_.wait(*mine_, ready, until); }
  // Makes wait_until() ask again. From any thread.
  void ring() { transport_.ring(*mine_); }
  bool alive(Rank peer) const { return peer == rank_ || peers_[static_cast<std::size_t>(peer)]->alive(); }

 private:
  bool given_up() const { return given_up_ && given_up_->load(std::memory_order_acquire); }
  Error failure(Rank peer, int word, std::uint64_t value, const Site& site, ErrorCode code, const std::string& why) const;

  const Rank rank_;
  std::vector<int> numbers_;
  Transport& transport_;
  const Duration timeout_;
  const std::string name_;
  std::unique_ptr<Region> mine_;
  std::vector<std::unique_ptr<RemoteRegion>> peers_;  // null at the own rank
  std::shared_ptr<const std::atomic<bool>> given_up_;
};

// Collective: a window of `bytes` on every rank. `timeout` bounds its waits.
Result<std::unique_ptr<Window>> create_window(Bootstrap& bootstrap, Transport& transport, const std::string& name,
                                              std::size_t bytes, Duration timeout);

// An all-gather of small messages that is split in two, so that a rank may see that others have
// begun before it begins itself. Rounds follow each other; a rank is at most one ahead.
class AllGather {
 public:
  // Collective. Messages have exactly `bytes` bytes.
  static Result<std::unique_ptr<AllGather>> create(Bootstrap& bootstrap, Transport& transport, std::size_t bytes,
                                                   Duration timeout);

  // Gives the own message of the next round to every rank.
  Status post(std::span<const std::byte> mine);
  // Waits for the others' messages of the posted round: [size * bytes], valid until the next post.
  Result<std::span<const std::byte>> collect(const Site& site);
  // Whether a peer has posted a round that this rank has not.
  bool called() const;
  // Sleeps until called(), woken() or `until`. ring() makes it ask again, from any thread.
  void sleep(const std::function<bool()>& woken, TimePoint until);
  void ring() { window_->ring(); }

  Rank rank() const { return window_->rank(); }
  int size() const { return window_->size(); }
  std::uint64_t round() const { return round_; }

 private:
  AllGather(std::unique_ptr<Window> window, std::size_t bytes) : window_(std::move(window)), bytes_(bytes) {}
  std::size_t slot(std::uint64_t round, Rank rank) const;

  std::unique_ptr<Window> window_;
  const std::size_t bytes_;
  std::uint64_t round_ = 0;  // posted
};

}  // namespace braid::fabric
