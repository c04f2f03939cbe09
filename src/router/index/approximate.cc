// SPDX-License-Identifier: Apache-2.0
#include "router/index/approximate.h"

#include <algorithm>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace braid::router {
namespace {

// Hashes bytes that come in pieces, block by block.
class Chain {
 public:
  Chain(std::uint64_t start, std::size_t block_bytes, std::size_t max_blocks)
      : previous_(start), block_bytes_(block_bytes), max_blocks_(max_blocks) {}

  void feed(std::string_view bytes) {
    if (!pending_.empty()) {
      const std::size_t wanted = std::min(block_bytes_ - pending_.size(), bytes.size());
      pending_.append(bytes.substr(0, wanted));
      bytes.remove_prefix(wanted);
      if (pending_.size() < block_bytes_) return;
      add(pending_);
      pending_.clear();
    }
    while (bytes.size() >= block_bytes_ && !full()) {
      add(bytes.substr(0, block_bytes_));
      bytes.remove_prefix(block_bytes_);
    }
    if (!full()) pending_.assign(bytes);
  }

  std::vector<std::uint64_t> finish() {
    if (!pending_.empty() && !full()) add(pending_);
    return std::move(hashes_);
  }

 private:
  bool full() const { return hashes_.size() >= max_blocks_; }

  void add(std::string_view block) {
    if (full()) return;
    const std::uint64_t words[2] = {XXH64(block.data(), block.size(), 0), previous_};
    previous_ = XXH64(words, sizeof words, 0);
    hashes_.push_back(previous_);
  }

  std::uint64_t previous_;
  std::size_t block_bytes_;
  std::size_t max_blocks_;
  std::string pending_;
  std::vector<std::uint64_t> hashes_;
};

std::string_view bytes_of(const std::vector<std::int32_t>& ids) {
  return {reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(std::int32_t)};
}

}  // namespace

std::vector<std::uint64_t> chain_of(const RoutedRequest& request,
                                    const std::string& model,
                                    std::size_t block_bytes,
                                    std::size_t max_blocks) {
  const std::string seed = model + request.facts.cache_salt;
  Chain chain(XXH64(seed.data(), seed.size(), 0), block_bytes, max_blocks);
  if (!request.tokens.empty()) {
    chain.feed(bytes_of(request.tokens));
  } else if (!request.facts.token_ids.empty()) {
    chain.feed(bytes_of(request.facts.token_ids));
  } else {
    for (const Piece& piece : request.facts.prompt) chain.feed(piece.in(request.body));
  }
  return chain.finish();
}

ApproximatePrefix::ApproximatePrefix(Parameters parameters) : parameters_(parameters) {}

int ApproximatePrefix::block_size(std::span<const Endpoint> endpoints) const {
  int size = parameters_.block_size;
  if (parameters_.auto_tune) {
    int reported = 0;
    for (const Endpoint& endpoint : endpoints) reported = std::max(reported, endpoint.state.block_size);
    if (reported > 0) size = reported;
  }
  return std::max(size, kLeastBlockSize);
}

std::size_t ApproximatePrefix::capacity_of(const Endpoint& endpoint, int block_size) const {
  const EndpointState& state = endpoint.state;
  if (!parameters_.auto_tune || state.num_blocks <= 0 || state.block_size <= 0) {
    return static_cast<std::size_t>(parameters_.capacity);
  }
  const std::int64_t tokens = state.num_blocks * state.block_size;
  return static_cast<std::size_t>(std::max<std::int64_t>(tokens / block_size, 1));
}

void ApproximatePrefix::look_up(Context& context, PrefixMatch& match) {
  const int size = block_size(context.endpoints);
  const std::int64_t cap = parameters_.max_tokens > 0 ? parameters_.max_tokens / size : parameters_.max_blocks;
  match.known = true;
  match.block_size = size;
  match.keys = chain_of(context.request, context.data.model, static_cast<std::size_t>(size) * 4, static_cast<std::size_t>(std::max<std::int64_t>(cap, 1)));
  holders_.match(match.keys, context.slots, match.blocks);
  std::copy(match.blocks.begin(), match.blocks.end(), match.weighted.begin());
  for (std::size_t i = 0; i < context.slots.size(); ++i) {
    if (context.slots[i] >= capacities_.size()) capacities_.resize(context.slots[i] + 1);
    capacities_[context.slots[i]] = capacity_of(context.endpoints[i], size);
  }
}

void ApproximatePrefix::sent(const Sent& sent) {
  if (!sent.data.looked_up[index]) return;
  learn(sent.decode, sent.data.prefixes[index]);
  learn(sent.prefill, sent.data.prefixes[index]);
}

void ApproximatePrefix::learn(Slot slot, const PrefixMatch& match) {
  if (slot == kNoSlot || slot >= capacities_.size()) return;
  if (slot >= held_.size()) held_.resize(slot + 1);
  Lru& held = held_[slot];
  for (auto key = match.keys.rbegin(); key != match.keys.rend(); ++key) {
    if (held.touch(*key)) holders_.add(*key, slot);
  }
  while (held.size() > capacities_[slot]) holders_.remove(*held.pop_oldest(), slot);
}

void ApproximatePrefix::forget(Slot slot) {
  if (slot >= held_.size()) return;
  held_[slot].for_each([&](std::uint64_t key) { holders_.remove(key, slot); });
  held_[slot].clear();
}

}  // namespace braid::router
