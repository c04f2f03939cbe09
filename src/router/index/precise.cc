// SPDX-License-Identifier: Apache-2.0
#include "router/index/precise.h"

#include <algorithm>

namespace braid::router {
namespace {

std::uint64_t with_slot(std::uint64_t key, Slot slot) { return key ^ (std::uint64_t{slot} + 1) * 0x9e3779b97f4a7c15u; }

// What the first block of a chain is salted with beside its tokens.
std::string salt_of(bool direct, const std::string& adapter, std::string_view extra) {
  if (direct) return std::string(extra);
  return adapter.empty() && extra.empty() ? std::string() : adapter + '\n' + std::string(extra);
}

std::string joined(const std::vector<std::string>& keys) {
  std::string text;
  for (const std::string& key : keys) text += key;
  return text;
}

}  // namespace

bool PrecisePrefix::Presence::none() const {
  return speculative == 0 && std::all_of(stored.begin(), stored.end(), [](std::uint16_t count) { return count == 0; });
}

PrecisePrefix::PrecisePrefix(Parameters parameters) : parameters_(std::move(parameters)) {
  const std::string& algorithm = parameters_.tokens.algorithm;
  direct_ = algorithm == "sha256_cbor" || algorithm == "xxhash_cbor";
  hasher_ = std::make_unique<prefix::BlockHasher>(
      algorithm == "sha256_cbor" ? prefix::Algorithm::kSha256Cbor : prefix::Algorithm::kXxhashCbor, parameters_.tokens.seed);
  block_size_ = parameters_.tokens.block_size_tokens.value_or(parameters_.tokens.block_size.value_or(16));
  if (parameters_.speculative_ttl) speculative_ttl_ = parameters_.speculative_ttl->value;
  tiers_ = {"gpu", "cpu"};
  weights_ = {1, 0.8, 1, 1};
  for (const TierWeight& tier : parameters_.indexer.tiers) weights_[tier_of(tier.name)] = tier.weight;
}

Status PrecisePrefix::connect(Plugins&) {
  if (parameters_.tokens.block_size && parameters_.tokens.block_size_tokens) {
    return parameters.error("blockSize is the old name of blockSizeTokens; give one of them", "tokenProcessorConfig");
  }
  if (!parameters_.events.discover && parameters_.events.central.empty()) {
    return parameters.error("without discoverPods a zmqEndpoint is needed, or no event ever comes", "kvEventsConfig");
  }
  return {};
}

KvFeedSettings PrecisePrefix::feed_settings() const {
  const KvEventsConfig& events = parameters_.events;
  return {events.central, events.filter, events.discovery.port, events.discovery.replay_port};
}

std::size_t PrecisePrefix::tier_of(const std::string& medium) {
  for (std::size_t i = 0; i < tiers_.size(); ++i) {
    if (tiers_[i] == medium) return i;
  }
  if (tiers_.size() < kTiers) tiers_.push_back(medium);
  return tiers_.size() - 1;
}

void PrecisePrefix::add(std::uint64_t key, Slot slot, std::size_t tier) {
  Presence& presence = presence_[with_slot(key, slot)];
  if (presence.none()) holders_.add(key, slot);
  ++presence.stored[tier];
}

void PrecisePrefix::drop(std::uint64_t key, Slot slot, std::size_t tier, std::uint16_t times) {
  Presence* presence = presence_.find(with_slot(key, slot));
  if (presence == nullptr) return;
  presence->stored[tier] -= std::min(presence->stored[tier], times);
  if (!presence->none()) return;
  presence_.erase(with_slot(key, slot));
  holders_.remove(key, slot);
}

void PrecisePrefix::apply(Slot slot, const KvEventBatch& batch) {
  if (slot >= engines_.size()) engines_.resize(slot + 1);
  for (const KvEvent& event : batch.events) {
    if (const auto* stored = std::get_if<BlockStored>(&event)) {
      store(slot, *stored);
    } else if (const auto* removed = std::get_if<BlockRemoved>(&event)) {
      remove(slot, *removed);
    } else {
      forget(slot);
    }
  }
}

void PrecisePrefix::check_identity(const BlockStored& event) {
  if (event.parent || event.hashes.empty() || event.token_ids.empty() || !event.adapter.empty()) return;
  const std::string salt = salt_of(true, "", joined(event.extra_keys));
  const auto tokens = std::span(event.token_ids).first(static_cast<std::size_t>(event.block_size));
  if (hasher_->hash(hasher_->none(), tokens, salt).low64() != event.hashes.front()) ++strangers_;
}

void PrecisePrefix::store(Slot slot, const BlockStored& event) {
  if (!event.indexed) return;
  if (!event.adapter.empty()) adapters_.insert(event.adapter);
  const std::size_t tier = tier_of(event.medium);
  one_tier_ = one_tier_ && tier == 0;
  if (direct_) check_identity(event);
  auto& blocks = engines_[slot];
  for (std::size_t i = 0; i < event.hashes.size(); ++i) {
    auto found = blocks.find(event.hashes[i]);
    if (found == blocks.end()) {
      EngineBlock block;
      if (direct_) {
        block.keys = {event.hashes[i]};
      } else if (event.token_ids.empty() || !continue_chain(slot, event, i, block)) {
        orphans_ += event.hashes.size() - i;
        return;
      }
      found = blocks.emplace(event.hashes[i], std::move(block)).first;
    }
    ++found->second.stored[tier];
    for (const std::uint64_t key : found->second.keys) add(key, slot, tier);
  }
}

bool PrecisePrefix::continue_chain(Slot slot, const BlockStored& event, std::size_t index, EngineBlock& block) {
  const auto& blocks = engines_[slot];
  if (index > 0 || event.parent) {
    const auto parent = blocks.find(index > 0 ? event.hashes[index - 1] : *event.parent);
    if (parent == blocks.end()) return false;
    block.chain = parent->second.chain;
    block.pending = parent->second.pending;
    block.salt = parent->second.salt;
  } else {
    block.chain = hasher_->none();
    block.salt = salt_of(false, event.adapter, joined(event.extra_keys));
  }
  const auto size = static_cast<std::size_t>(event.block_size);
  const auto first = event.token_ids.begin() + static_cast<std::ptrdiff_t>(index * size);
  block.pending.insert(block.pending.end(), first, first + static_cast<std::ptrdiff_t>(size));
  const auto wanted = static_cast<std::size_t>(block_size_);
  std::size_t used = 0;
  for (; block.pending.size() - used >= wanted; used += wanted) {
    const bool start = block.chain == hasher_->none();
    block.chain = hasher_->hash(block.chain, std::span(block.pending).subspan(used, wanted), start ? block.salt : std::string());
    block.keys.push_back(block.chain.low64());
  }
  block.pending.erase(block.pending.begin(), block.pending.begin() + static_cast<std::ptrdiff_t>(used));
  return true;
}

void PrecisePrefix::remove(Slot slot, const BlockRemoved& event) {
  const std::size_t tier = tier_of(event.medium);
  auto& blocks = engines_[slot];
  for (const std::uint64_t hash : event.hashes) {
    const auto found = blocks.find(hash);
    if (found == blocks.end() || found->second.stored[tier] == 0) continue;
    --found->second.stored[tier];
    for (const std::uint64_t key : found->second.keys) drop(key, slot, tier, 1);
    const auto& stored = found->second.stored;
    if (std::all_of(stored.begin(), stored.end(), [](std::uint16_t count) { return count == 0; })) blocks.erase(found);
  }
}

void PrecisePrefix::forget(Slot slot) {
  if (slot < engines_.size()) {
    for (auto& [hash, block] : engines_[slot]) {
      for (std::size_t tier = 0; tier < kTiers; ++tier) {
        if (block.stored[tier] == 0) continue;
        for (const std::uint64_t key : block.keys) drop(key, slot, tier, block.stored[tier]);
      }
    }
    engines_[slot].clear();
  }
  const auto leave = [&](Speculation& guess) {
    if (std::erase(guess.slots, slot) > 0) withdraw(guess, slot);
  };
  for (auto& [flight, guess] : unanswered_) leave(guess);
  for (auto& [until, guess] : answered_) leave(guess);
}

void PrecisePrefix::withdraw(const Speculation& guess, Slot slot) {
  for (const std::uint64_t key : guess.keys) {
    Presence* presence = presence_.find(with_slot(key, slot));
    if (presence == nullptr) continue;
    presence->speculative -= presence->speculative > 0;
    if (!presence->none()) continue;
    presence_.erase(with_slot(key, slot));
    holders_.remove(key, slot);
  }
}

void PrecisePrefix::expire(TimePoint now) {
  while (!answered_.empty() && answered_.front().first <= now) {
    const Speculation& guess = answered_.front().second;
    for (const Slot slot : guess.slots) withdraw(guess, slot);
    answered_.pop_front();
  }
}

void PrecisePrefix::sent(const Sent& sent) {
  if (!parameters_.speculative || !sent.data.looked_up[index] || sent.data.prefixes[index].keys.empty()) return;
  Speculation& guess = unanswered_[sent.flight];
  guess.keys = sent.data.prefixes[index].keys;
  for (const Slot slot : {sent.decode, sent.prefill}) {
    if (slot == kNoSlot) continue;
    guess.slots.push_back(slot);
    for (const std::uint64_t key : guess.keys) {
      Presence& presence = presence_[with_slot(key, slot)];
      if (presence.none()) holders_.add(key, slot);
      ++presence.speculative;
    }
  }
}

void PrecisePrefix::first_chunk(FlightNumber flight, TimePoint now) {
  const auto found = unanswered_.find(flight);
  if (found == unanswered_.end()) return;
  answered_.emplace_back(now + speculative_ttl_, std::move(found->second));
  unanswered_.erase(found);
}

void PrecisePrefix::done(FlightNumber flight, const ResponseFacts& facts, TimePoint now) {
  if (facts.status / 100 == 2) return first_chunk(flight, now);
  const auto found = unanswered_.find(flight);
  if (found == unanswered_.end()) return;
  for (const Slot slot : found->second.slots) withdraw(found->second, slot);
  unanswered_.erase(found);
}

std::vector<std::uint64_t> PrecisePrefix::keys_of(const Context& context) {
  const RoutedRequest& request = context.request;
  const std::span<const std::int32_t> tokens = request.tokens.empty() ? request.facts.token_ids : request.tokens;
  const bool adapted = adapters_.contains(context.data.model);
  const std::string salt = salt_of(direct_, adapted ? context.data.model : std::string(), request.facts.cache_salt);
  const auto size = static_cast<std::size_t>(block_size_);
  std::vector<std::uint64_t> keys;
  keys.reserve(tokens.size() / size);
  prefix::BlockHash chain = hasher_->none();
  for (std::size_t at = 0; at + size <= tokens.size(); at += size) {
    chain = hasher_->hash(chain, tokens.subspan(at, size), at == 0 ? std::string_view(salt) : std::string_view());
    keys.push_back(chain.low64());
  }
  return keys;
}

double PrecisePrefix::weight_of(std::uint64_t key, Slot slot) const {
  const Presence* presence = presence_.find(with_slot(key, slot));
  if (presence == nullptr) return 0;
  double weight = presence->speculative > 0 ? weights_[0] : 0;
  for (std::size_t tier = 0; tier < kTiers; ++tier) {
    if (presence->stored[tier] > 0) weight = std::max(weight, weights_[tier]);
  }
  return weight;
}

void PrecisePrefix::look_up(Context& context, PrefixMatch& match) {
  expire(context.now);
  match.block_size = block_size_;
  match.known = !context.request.tokens.empty() || !context.request.facts.token_ids.empty();
  if (!match.known) return;
  match.keys = keys_of(context);
  holders_.match(match.keys, context.slots, match.blocks);
  for (std::size_t i = 0; i < match.blocks.size(); ++i) {
    if (one_tier_) {
      match.weighted[i] = match.blocks[i] * weights_[0];
      continue;
    }
    for (int block = 0; block < match.blocks[i]; ++block) {
      match.weighted[i] += weight_of(match.keys[static_cast<std::size_t>(block)], context.slots[i]);
    }
  }
}

}  // namespace braid::router
