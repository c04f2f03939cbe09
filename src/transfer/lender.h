// SPDX-License-Identifier: Apache-2.0
// Lends blocks of this engine's cache to readers. A hold lasts until its reader releases it, until its
// lease is over without a sign of life, or until the connection of a reader that has taken it breaks.
// One of a prompt that is still being computed grows, so that reading begins before that is over; its lease
// begins when it is.
// Thread rules: hold() to holds() on the engine thread; readers are answered by threads of its own.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "fabric/connection.h"
#include "kv/block_pool.h"
#include "transfer/wire.h"

namespace braid::transfer {

struct LenderOptions {
  std::string engine_id;
  std::string host;  // where readers find the listener
  Duration lease = std::chrono::seconds(10);
};

class Lender {
 public:
  // `memory` outlives it. `changed` is called, on any thread, when collect() has something.
  Lender(LenderOptions options, std::unique_ptr<fabric::Listener> listener, Memory& memory, std::function<void()> changed);
  ~Lender();

  struct Blocks {
    std::vector<kv::BlockId> blocks;
    std::int32_t tokens = 0;
    std::int32_t followed = 0;
    std::uint64_t digest = 0;
    std::int32_t next = -1;
  };
  // The blocks must not change until collect() gives them back. Returns kv_transfer_params.
  std::string hold(Blocks blocks, TimePoint now);

  // A hold that grows, of a prompt of `total` tokens. Unless its reader or its connection ends it first, it
  // lasts until drop(), or like any other once fulfil() has been called. An id that has ended is ignored.
  struct Promise {
    std::string id;
    std::string params;  // kv_transfer_params; blocks are not told there
  };
  Promise promise(std::int32_t total, std::uint64_t digest, std::int32_t cached);
  // More of its blocks, behind those it has. They must not change except by what is computed of the prompt
  // until collect() gives them back. False: it has ended and does not take them.
  bool extend(const std::string& id, const std::vector<kv::BlockId>& blocks);
  // The first `tokens` tokens can be read, in blocks that it has.
  void publish(const std::string& id, std::int32_t tokens, std::int32_t followed);
  // Its blocks end; others will come.
  void rewind(const std::string& id);
  // All is computed, or all that will be. Returns kv_transfer_params; "" when it has ended.
  std::string fulfil(const std::string& id, std::int32_t tokens, std::int32_t followed, std::int32_t next, TimePoint now);
  void drop(const std::string& id);

  struct Collected {
    std::vector<kv::BlockId> blocks;
    int expired = 0;  // holds that nobody ended
  };
  // Blocks of holds that have ended since the last call, by lease too.
  Collected collect(TimePoint now);
  // With those whose blocks are not collected.
  int holds() const;

 private:
  struct Hold {
    Grant grant;
    TimePoint deadline;
    bool renewed = false;          // since the last collect()
    const void* reader = nullptr;  // the connection that has taken it
  };
  struct Reader {
    std::unique_ptr<fabric::Connection> connection;
    std::thread thread;
    std::atomic<bool> done{false};
  };
  using Holds = std::unordered_map<std::string, Hold>;

  void listen();
  void serve(Reader& reader);
  bool handle(Reader& reader, const fabric::Frame& frame);
  Grant take(const Reader& reader, const std::string& id, bool follows);
  void renew(const std::string& id);
  void release(const std::string& id);
  void release_all_of(const Reader& reader);
  // With the mutex:
  void begin(const std::string& id, Hold hold);
  void renumber(Grant& grant);
  Holds::iterator end(Holds::iterator hold);
  void give_back(Grant& grant);
  Offer offer_of(const std::string& id, const Grant& grant) const;
  void reap(bool all);

  const LenderOptions options_;
  const std::string incarnation_ = random_id();
  const std::unique_ptr<fabric::Listener> listener_;
  Memory& memory_;
  const std::function<void()> changed_;
  std::atomic<bool> closing_{false};

  mutable std::mutex mutex_;
  Holds holds_;
  std::vector<std::uint32_t> free_words_;
  std::uint64_t generations_ = 0;
  std::vector<kv::BlockId> ended_;
  std::size_t uncollected_ = 0;  // holds that these are of

  std::list<Reader> readers_;  // of the listening thread
  std::thread thread_;         // last: it uses all of the above
};

}  // namespace braid::transfer
