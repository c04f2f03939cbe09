// SPDX-License-Identifier: Apache-2.0
#include "events/encode.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace braid::events {
namespace {

using Json = nlohmann::json;

prefix::BlockHash hash_of(std::uint8_t content) {
  prefix::BlockHash hash;
  hash.size = 16;
  hash.bytes[8] = 0xff;  // the first of the low 64 bits
  hash.bytes[15] = content;
  return hash;
}
constexpr std::uint64_t kTop = 0xff00000000000000u;

std::vector<kv::CacheEvent> all_kinds() {
  return {kv::BlocksStored{{hash_of(1), hash_of(2)}, {}, {5, 6, 7, 8}, "mine"}, kv::BlocksStored{{hash_of(3)}, hash_of(2), {9, 70000}, ""},
          kv::BlocksRemoved{{hash_of(3)}}, kv::AllBlocksCleared{}};
}

TEST(Encode, writes_positional_arrays) {
  const Json batch = Json::from_msgpack(encode(12.25, all_kinds(), {.block_size = 2, .rank = 3}));
  EXPECT_EQ(batch, Json::array({12.25,
                                Json::array({Json::array({"BlockStored", {kTop + 1, kTop + 2}, nullptr, {5, 6, 7, 8}, 2, nullptr, "GPU", nullptr,
                                                          Json::array({Json::array({"mine"}), nullptr})}),
                                             Json::array({"BlockStored", {kTop + 3}, kTop + 2, {9, 70000}, 2, nullptr, "GPU", nullptr}),
                                             Json::array({"BlockRemoved", {kTop + 3}, "GPU"}), Json::array({"AllBlocksCleared"})}),
                                3}));
}

TEST(Encode, writes_maps) {
  const Json batch = Json::from_msgpack(encode(12.25, all_kinds(), {.maps = true, .block_size = 2}));
  EXPECT_EQ(batch["ts"], 12.25);
  EXPECT_EQ(batch["data_parallel_rank"], 0);
  EXPECT_EQ(batch["events"][0], (Json{{"type", "BlockStored"}, {"block_hashes", {kTop + 1, kTop + 2}}, {"parent_block_hash", nullptr},
                                      {"token_ids", {5, 6, 7, 8}}, {"block_size", 2}, {"lora_id", nullptr}, {"medium", "GPU"},
                                      {"lora_name", nullptr}, {"extra_keys", Json::array({Json::array({"mine"}), nullptr})}}));
  EXPECT_EQ(batch["events"][2], (Json{{"type", "BlockRemoved"}, {"block_hashes", {kTop + 3}}, {"medium", "GPU"}}));
  EXPECT_EQ(batch["events"][3], (Json{{"type", "AllBlocksCleared"}}));
}

TEST(Encode, names_blocks_by_all_bytes_when_asked) {
  const Json batch = Json::from_msgpack(encode(0, {kv::BlocksRemoved{{hash_of(7)}}}, {.int_hashes = false}));
  const auto& bytes = batch[1][0][1][0].get_binary();
  EXPECT_EQ(bytes.size(), 16u);
  EXPECT_EQ(bytes.back(), 7);
}

}  // namespace
}  // namespace braid::events
