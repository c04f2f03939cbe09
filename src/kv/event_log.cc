// SPDX-License-Identifier: Apache-2.0
#include "kv/event_log.h"

namespace braid::kv {

void EventLog::stored(const prefix::BlockHash& parent,
                      const prefix::BlockHash& block,
                      std::span<const std::int32_t> tokens,
                      const std::string& salt) {
  auto* last = events_.empty() ? nullptr : std::get_if<BlocksStored>(&events_.back());
  if (last == nullptr || last->medium != Medium::kDevice || last->blocks.back() != parent) {
    last = &std::get<BlocksStored>(events_.emplace_back(BlocksStored{{}, parent, {}, parent.size == 0 ? salt : "", Medium::kDevice}));
  }
  last->blocks.push_back(block);
  last->tokens.insert(last->tokens.end(), tokens.begin(), tokens.end());
}

void EventLog::stored_in_host(const prefix::BlockHash& block) {
  auto* last = events_.empty() ? nullptr : std::get_if<BlocksStored>(&events_.back());
  if (last == nullptr || last->medium != Medium::kHost) {
    last = &std::get<BlocksStored>(events_.emplace_back(BlocksStored{{}, {}, {}, "", Medium::kHost}));
  }
  last->blocks.push_back(block);
}

void EventLog::removed(const prefix::BlockHash& block, Medium medium) {
  auto* last = events_.empty() ? nullptr : std::get_if<BlocksRemoved>(&events_.back());
  if (last == nullptr || last->medium != medium) last = &std::get<BlocksRemoved>(events_.emplace_back(BlocksRemoved{{}, medium}));
  last->blocks.push_back(block);
}

}  // namespace braid::kv
