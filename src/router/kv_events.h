// SPDX-License-Identifier: Apache-2.0
// KV cache events as vLLM and SGLang publish them, read from MessagePack in both forms:
//
//   batch  := [ts, [event...], data_parallel_rank?]  |  {"ts", "events", "data_parallel_rank"}
//   event  := ["BlockStored", hashes, parent, token_ids, block_size, lora_id, medium, lora_name,
//              extra_keys, group_idx, kind, window]  |  {"type": "BlockStored", "block_hashes", ...}
//           | ["BlockRemoved", hashes, medium, group_idx]
//           | ["AllBlocksCleared"]
//
// Trailing fields may be missing, and more may follow. A hash is an integer or a byte string, of
// which the last 8 bytes count, big-endian.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"

namespace braid::router {

struct BlockStored {
  std::vector<std::uint64_t> hashes;
  std::optional<std::uint64_t> parent;
  std::vector<std::int32_t> token_ids;  // of all blocks; empty: a tier has changed
  int block_size = 0;
  std::string medium = "gpu";  // lower case
  std::string adapter;         // lora_name
  std::vector<std::string> extra_keys;  // of the first block: cache salt and the like
  bool indexed = true;         // false: of layers that do not see the whole prefix
};

struct BlockRemoved {
  std::vector<std::uint64_t> hashes;
  std::string medium = "gpu";
};

struct AllBlocksCleared {};

using KvEvent = std::variant<BlockStored, BlockRemoved, AllBlocksCleared>;

struct KvEventBatch {
  double timestamp = 0;
  std::vector<KvEvent> events;  // those of a known kind
  std::optional<int> rank;
};

// Errors: not MessagePack, or not of the form above. Never more memory than a small multiple of the
// payload.
Result<KvEventBatch> parse_kv_events(std::span<const std::uint8_t> payload);

}  // namespace braid::router
