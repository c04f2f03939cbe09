// SPDX-License-Identifier: Apache-2.0
// One sequence of tokens as the scheduler sees it: the prompt, then what was generated.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "kv/page_table.h"
#include "prefix/hash_chain.h"

namespace braid::engine {

struct Sequence {
  // kFetching: it has blocks, and another engine's keys and values are on their way there.
  enum class State { kNew, kWaiting, kFetching, kRunning, kFinished };

  Sequence(std::vector<std::int32_t> prompt,
           const kv::Paging& paging,
           prefix::BlockHasher* hasher,
           std::string salt)
      : tokens(std::move(prompt)),
        prompt_length(static_cast<std::int32_t>(tokens.size())),
        pages(paging),
        hashes(hasher, paging.block_size, std::move(salt)) {}
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  std::int32_t length() const { return static_cast<std::int32_t>(tokens.size()); }
  std::int32_t generated() const { return length() - prompt_length; }
  // Tokens whose keys and values are still to be computed; at least one, or nothing could be sampled.
  std::int32_t pending() const { return length() - computed; }
  bool decoding() const { return pending() == 1 && computed >= prompt_length; }

  // Order: lower `priority` first (0 under fcfs), then lower `arrival`, then lower `index`.
  std::int32_t priority = 0;
  std::uint64_t arrival = 0;
  int index = 0;

  std::vector<std::int32_t> tokens;
  std::int32_t prompt_length;
  std::int32_t computed = 0;  // tokens whose keys and values are in the cache
  State state = State::kNew;
  kv::PageTable pages;
  prefix::HashChain hashes;
  std::int32_t named_blocks = 0;  // of `pages`, those that the cache knows by their hash
  std::uint64_t named_since = 0;  // BlockPool::forgotten() when the first of them was named or found

  // Every prompt row must be computed, because somebody wants its logits.
  bool wants_prompt_rows = false;
  std::vector<std::int32_t> drafts;    // guesses at the tokens to come, which the next step checks
  bool drafts_forced = false;          // they are what a grammar leaves, not guesses of a drafter
  std::int32_t followed = 0;           // tokens whose computation the drafter saw, without a gap
  std::int32_t cached_tokens = -1;     // found in the cache at first admission; -1 before it
  std::int32_t restored_tokens = 0;    // of these, copied back from the host tier
  // Of its first tokens another engine has keys and values, to be read instead of computed; and of these,
  // those that its drafter has followed.
  std::int32_t remote_tokens = 0;
  std::int32_t remote_followed = 0;
  std::int32_t fetched_tokens = 0;     // that were read from another engine
  const Sequence* leader = nullptr;    // choice 0 of the same prompt, whose blocks may be shared
  std::int32_t planned = 0;            // tokens of the step being planned
};

}  // namespace braid::engine
