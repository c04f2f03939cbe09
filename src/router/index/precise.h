// SPDX-License-Identifier: Apache-2.0
// `precise-prefix-cache-producer`: knows what endpoints have cached from the events they publish.
//
// A prompt's block has a key, the low 64 bits of its prefix::BlockHash. Where `hashAlgorithm` names an
// engine's algorithm (sha256_cbor, xxhash_cbor) with the engines' seed and block size, an event's
// hashes are the keys: a block is placed whether or not its parent is known. With llm-d's names
// (cbor-fnv, xxh64) the engines' hashes mean nothing here: keys are computed from the tokens of the
// events, along the parents, for any ratio of block sizes (a key comes and goes with the engine's block
// that completes it), and what has lost its parent is counted and left out.
//
// A key is present on an endpoint as often as it was stored there, by tier. With speculativeIndexing it is
// present too while a request sent there waits for the first piece of its answer, however long that takes,
// and for speculativeTTL more, in which the events come.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "prefix/block_hash.h"
#include "router/catalog.h"
#include "router/index/flat_map.h"
#include "router/index/holders.h"
#include "router/kv_events.h"
#include "router/kv_feed.h"
#include "router/plugin.h"
#include "router/precise_parameters.h"

namespace braid::router {

class PrecisePrefix final : public Plugin, public PrefixProducer {
 public:
  using Parameters = PreciseParameters;
  explicit PrecisePrefix(Parameters parameters);

  Status connect(Plugins& plugins) override;

  KvFeedSettings feed_settings() const;
  void apply(Slot slot, const KvEventBatch& batch);
  void forget(Slot slot);

  std::size_t blocks() const { return holders_.blocks(); }
  std::uint64_t orphans() const { return orphans_; }
  // Blocks whose hash is not what their tokens give: engines hash otherwise than configured.
  std::uint64_t strangers() const { return strangers_; }

  void sent(const Sent& sent) override;
  void first_chunk(FlightNumber flight, TimePoint now) override;
  void done(FlightNumber flight, const ResponseFacts& facts, TimePoint now) override;
  void endpoint_removed(Slot slot, std::string_view name) override { forget(slot); }
  void endpoint_restarted(Slot slot, std::string_view name) override { forget(slot); }

 protected:
  void look_up(Context& context, PrefixMatch& match) override;

 private:
  static constexpr std::size_t kTiers = 4;

  struct Presence {
    std::array<std::uint16_t, kTiers> stored{};
    std::uint16_t speculative = 0;
    bool none() const;
  };
  // One block of one engine.
  struct EngineBlock {
    std::array<std::uint16_t, kTiers> stored{};
    std::vector<std::uint64_t> keys;          // completed within it
    prefix::BlockHash chain;                  // of the last key so far
    std::vector<std::int32_t> pending;        // tokens after that
    std::string salt;
  };
  struct Speculation {
    std::vector<Slot> slots;
    std::vector<std::uint64_t> keys;
  };

  void store(Slot slot, const BlockStored& event);
  void remove(Slot slot, const BlockRemoved& event);
  bool continue_chain(Slot slot, const BlockStored& event, std::size_t index, EngineBlock& block);
  void check_identity(const BlockStored& event);
  std::size_t tier_of(const std::string& medium);
  void add(std::uint64_t key, Slot slot, std::size_t tier);
  void drop(std::uint64_t key, Slot slot, std::size_t tier, std::uint16_t times);
  void expire(TimePoint now);
  void withdraw(const Speculation& guess, Slot slot);
  std::vector<std::uint64_t> keys_of(const Context& context);
  double weight_of(std::uint64_t key, Slot slot) const;

  Parameters parameters_;
  bool direct_ = false;
  int block_size_ = 16;
  Duration speculative_ttl_ = std::chrono::seconds(2);
  std::unique_ptr<prefix::BlockHasher> hasher_;
  std::vector<std::string> tiers_;
  std::array<double, kTiers> weights_{};
  bool one_tier_ = true;  // nothing but the first tier has been seen

  Holders holders_;
  FlatMap<Presence> presence_;  // by key and slot
  std::vector<std::unordered_map<std::uint64_t, EngineBlock>> engines_;  // by slot, by engine hash
  std::set<std::string, std::less<>> adapters_;
  std::unordered_map<FlightNumber, Speculation> unanswered_;
  std::deque<std::pair<TimePoint, Speculation>> answered_;  // until when
  std::uint64_t orphans_ = 0;
  std::uint64_t strangers_ = 0;
};

}  // namespace braid::router
