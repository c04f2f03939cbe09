// SPDX-License-Identifier: Apache-2.0
// `approx-prefix-cache-producer`: guesses what endpoints have cached from what they were sent.
//
// The prompt's bytes are taken four to a token and hashed in blocks, nothing is tokenized:
//   h0 = XXH64(model [+ cache salt]);  hi = XXH64(le64(XXH64(bytes of block i)) || le64(h(i-1)))
// with the last, partial block too. Given token ids are hashed as four bytes each, so that both are
// the same chain over other bytes. Each endpoint's blocks are forgotten oldest first beyond its
// capacity; those of one prompt from its end.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "router/catalog.h"
#include "router/index/holders.h"
#include "router/index/lru.h"
#include "router/plugin.h"

namespace braid::router {

class ApproximatePrefix final : public Plugin, public PrefixProducer {
 public:
  static constexpr int kLeastBlockSize = 64;

  struct Parameters {
    bool auto_tune = true;
    int block_size = 16;
    std::int64_t max_tokens = 131072;
    int max_blocks = 2048;
    int capacity = 31250;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("autoTune", self.auto_tune, {.help = "Take block size and capacity from what endpoints report"});
      v.field("blockSizeTokens", self.block_size, {.help = "Tokens per block; at least 64 are taken", .min = 1, .max = 1 << 20});
      v.field("maxPrefixTokensToMatch", self.max_tokens, {.help = "Tokens of a prompt that are looked at; 0: as maxPrefixBlocksToMatch says", .min = 0});
      v.field("maxPrefixBlocksToMatch", self.max_blocks, {.help = "Blocks looked at when there is no limit in tokens", .min = 1, .max = 1 << 20});
      v.field("lruCapacityPerServer", self.capacity, {.help = "Blocks remembered for each endpoint", .min = 1, .max = 1 << 28});
    }
  };
  explicit ApproximatePrefix(Parameters parameters);

  std::size_t blocks() const { return holders_.blocks(); }
  // Tokens per block, for these endpoints.
  int block_size(std::span<const Endpoint> endpoints) const;

  void sent(const Sent& sent) override;
  void endpoint_removed(Slot slot, std::string_view name) override { forget(slot); }
  void endpoint_restarted(Slot slot, std::string_view name) override { forget(slot); }

 protected:
  void look_up(Context& context, PrefixMatch& match) override;

 private:
  void learn(Slot slot, const PrefixMatch& match);
  void forget(Slot slot);
  std::size_t capacity_of(const Endpoint& endpoint, int block_size) const;

  Parameters parameters_;
  Holders holders_;
  std::vector<Lru> held_;                // by slot
  std::vector<std::size_t> capacities_;  // by slot
};

// The chain of a prompt: at most `max_blocks` hashes. `block_bytes` is a multiple of 4.
std::vector<std::uint64_t> chain_of(const RoutedRequest& request,
                                    const std::string& model,
                                    std::size_t block_bytes,
                                    std::size_t max_blocks);

}  // namespace braid::router
