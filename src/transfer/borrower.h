// SPDX-License-Identifier: Apache-2.0
// Reads blocks that other engines hold for this one, into this engine's cache, by one-sided reads.
//
// A fetch is opened, which takes the hold and keeps renewing its lease; then it is read, or ended. Every
// fetch that is opened ends its hold: after reading, on every failure, and by end(). No wait is longer
// than a deadline: a peer that cannot be reached or does not answer makes the fetch fail.
// Thread rules: open() to decline() from any thread, but of one fetch from one; news() on one thread.
// Each peer has a thread of its own here.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fabric/transport.h"
#include "kv/block_pool.h"
#include "transfer/wire.h"

namespace braid::transfer {

using FetchId = std::uint64_t;

// What became of a fetch. First kGranted or kFailed, after read() kRead or kFailed; or kRewound, if what was
// read had not yet been computed and its owner needed the blocks: then all begins again with kGranted or
// kFailed, when the prompt has been computed.
struct News {
  enum class Kind { kGranted, kRead, kRewound, kFailed };
  FetchId fetch = 0;
  Kind kind = Kind::kFailed;
  std::int32_t tokens = 0;    // kGranted: that can be read, from the first, now or as they are computed
  bool growing = false;       // kGranted: they are being computed
  std::int32_t followed = 0;  // of them, those that the draft module has seen; with the last news
  std::int32_t next = -1;     // the token that was chosen after the whole prompt; -1: not told; with the last news
  std::size_t bytes = 0;      // kRead
  double seconds = 0;
  std::string error;  // kFailed: a sentence without its end, "127.0.0.1:5600 cannot be reached: ..."
};

// Tokens [first, end) of a sequence with these blocks here. Of a hold that grows they are read as they are
// computed there.
struct Reading {
  std::int32_t first = 0;
  std::int32_t end = 0;
  std::vector<kv::BlockId> blocks;
};

struct BorrowerOptions {
  std::string secret;
  Duration lease = std::chrono::seconds(10);  // renewed every third of it; a read that stands still for so long fails
  Duration connect_time = std::chrono::seconds(2);
  Duration answer_time = std::chrono::seconds(5);  // who computes a prompt that is followed is asked every third of a lease whether it lives
};

class Peer;

class Borrower {
 public:
  // Both outlive it. `changed` is called, on any thread, when there are news.
  Borrower(BorrowerOptions options, fabric::Transport& transport, Memory& memory, std::function<void()> changed);
  ~Borrower();

  // `prompt`: the tokens whose keys and values are wanted; granted is only what was computed of the same.
  FetchId open(const Source& source, std::vector<std::int32_t> prompt);
  // REQUIRES: it was granted. The blocks must be kept until its news.
  void read(FetchId fetch, Reading reading);
  // It is no longer wanted. After read() its news come all the same, soon; otherwise none.
  void end(FetchId fetch);
  // The hold is not wanted at all.
  void decline(const Source& source);

  std::vector<News> news();

 private:
  std::shared_ptr<Peer> peer_of(FetchId fetch);
  // With the mutex. Null when there are too many; `unused` is let go without it.
  std::shared_ptr<Peer> peer_at(const Source& source, std::vector<std::shared_ptr<Peer>>& unused);
  void tell(News news);

  const BorrowerOptions options_;
  fabric::Transport& transport_;
  Memory& memory_;
  const std::function<void()> changed_;

  std::mutex mutex_;
  FetchId next_ = 1;
  std::map<std::string, std::shared_ptr<Peer>> peers_;  // by address
  std::map<FetchId, std::shared_ptr<Peer>> fetches_;    // without news of an end
  std::vector<News> news_;
};

}  // namespace braid::transfer
