// SPDX-License-Identifier: Apache-2.0
// Cache events as vLLM writes them, in msgpack:
//
//   batch         [ts, [event...], data_parallel_rank]
//   BlockStored   ["BlockStored", block_hashes, parent_block_hash, token_ids, block_size, lora_id, medium,
//                  lora_name, extra_keys]      the last only if there is a salt
//   BlockRemoved  ["BlockRemoved", block_hashes, medium]
//   AllBlocksCleared  ["AllBlocksCleared"]
//
// or, as maps, the same under these names, an event's first under "type". The memory that the kernels
// read is "GPU" on every device, and the host's where blocks are kept beside it (kv/host_tier.h) "CPU", as in vLLM;
// what is stored there has no parent and no tokens. extra_keys has an entry a block, nil or [salt].
#pragma once

#include <cstdint>
#include <vector>

#include "kv/event_log.h"

namespace braid::events {

struct Form {
  bool maps = false;
  bool int_hashes = true;  // the low 64 bits of a hash, else its bytes
  int block_size = 16;
  int rank = 0;
};

std::vector<std::uint8_t> encode(double unix_seconds, const std::vector<kv::CacheEvent>& events, const Form& form);

}  // namespace braid::events
