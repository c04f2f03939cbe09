// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <numeric>

#include "prefix/block_hash.h"
#include "prefix/hash_chain.h"

namespace braid::prefix {
namespace {

// Integers on both sides of every length that CBOR distinguishes.
const std::vector<std::int32_t> kEdges = {
    0, 1, 23, 24, 255, 256, 65535, 65536, 2147483647, 7, 8, 9, 10, 11, 12, 13};
const std::string kSalt = "tenant-\xc3\xa9";

std::vector<std::int32_t> hundreds() {
  std::vector<std::int32_t> tokens(16);
  std::iota(tokens.begin(), tokens.end(), 100);
  return tokens;
}

// Computed in Python with cbor2.dumps(..., canonical=True), hashlib.sha256 and xxhash.xxh3_128.
struct Vector {
  Algorithm algorithm;
  const char* seed;
  const char* none;
  const char* first;
  std::uint64_t first_low64;
  const char* second;
  const char* salted_first;
  const char* salted_second;
};

const Vector kVectors[] = {
    {Algorithm::kSha256Cbor,
     "0",
     "4e1195df020de59e0d65a33a4279f1183e7ae4e5d980e309f8b55adff2e61c3e",
     "af0b232391cf4cda53b58b3f328532b84a497462ce76c3592ced2e34605e8738",
     3237294509639239480u,
     "64073b4ae3cdf95cc57d53dac8a7415213a83e95690d5dacf3f4a90f86ec1255",
     "aaba2c5e56594d8a2a7522ba1ea6196a5e20f182f1c64324f4f58587d252e78a",
     "33352b8bbc53aa50019289e6a54f2170b4560dc53a77bd19a613010786bbf3df"},
    {Algorithm::kSha256Cbor,
     "42",
     "9fa6eb003f14425eb9c8e6baacfbcaab26257357b829c7bfa74ffcc4f31c1780",
     "f3d10f99d6c3a91772d0a4a74e0e6a709b60a263eecda818681be0371f7ed2d3",
     7501836131671921363u,
     "65c535e29cfcd895f29624849448675b6b50e5aa7daf3b69f734cfd5ec097506",
     "d28427456b8ad12ec8825a5557b19104c458b6200d3d1c544e34e975c8fade31",
     "ce97efafc6c40ca1815bbfced0daf6e012e6c03516e4795bc3218157cc909618"},
    {Algorithm::kXxhashCbor,
     "0",
     "1ebe36576dcb573f26b99533a20aaeca",
     "f2cdae9ba16dbc1f4fad66a109dc5a88",
     5741357941808454280u,
     "a67101a5603f769a095320962427c667",
     "2b0ff034bcec5887b4942fd2557646b1",
     "fe351a83fc0fa3eb9d0c542083294d57"},
    {Algorithm::kXxhashCbor,
     "42",
     "a9d2e63407fce1a26c9dc9d7fa2d7caf",
     "196a876922586e4a6788c699c231341d",
     7460431146429527069u,
     "514870dd941cf4301502e863f5e626a2",
     "ed49a36a78f5e0475417480964afd317",
     "54b9b51499951ca17f41eea466d16d04"},
};

TEST(BlockHasher, agrees_with_canonical_cbor_computed_elsewhere) {
  for (const Vector& v : kVectors) {
    SCOPED_TRACE(std::string(name_of(v.algorithm)) + " seed " + v.seed);
    BlockHasher hasher(v.algorithm, v.seed);
    EXPECT_EQ(hasher.none().hex(), v.none);
    const BlockHash first = hasher.hash(hasher.none(), kEdges);
    EXPECT_EQ(first.hex(), v.first);
    EXPECT_EQ(first.low64(), v.first_low64);
    EXPECT_EQ(hasher.hash(first, hundreds()).hex(), v.second);
  }
}

TEST(HashChain, salts_the_first_block_only_and_carries_the_salt_on) {
  for (const Vector& v : kVectors) {
    BlockHasher hasher(v.algorithm, v.seed);
    std::vector<std::int32_t> tokens = kEdges;
    for (const std::int32_t t : hundreds()) tokens.push_back(t);
    HashChain chain(&hasher, 16, kSalt);
    chain.extend(tokens);
    ASSERT_EQ(chain.blocks().size(), 2u);
    EXPECT_EQ(chain.blocks()[0].hex(), v.salted_first);
    EXPECT_EQ(chain.blocks()[1].hex(), v.salted_second);
  }
}

TEST(HashChain, growing_token_by_token_equals_hashing_at_once) {
  BlockHasher hasher(Algorithm::kSha256Cbor, "0");
  std::vector<std::int32_t> tokens(100);
  std::iota(tokens.begin(), tokens.end(), 1);
  HashChain whole(&hasher, 8, "");
  whole.extend(tokens);
  HashChain grown(&hasher, 8, "");
  for (std::size_t n = 1; n <= tokens.size(); ++n) {
    grown.extend(std::span(tokens).first(n));
    EXPECT_EQ(grown.blocks().size(), n / 8) << "only full blocks have an identity";
  }
  EXPECT_TRUE(std::equal(
      whole.blocks().begin(), whole.blocks().end(), grown.blocks().begin(), grown.blocks().end()));
}

TEST(HashChain, a_different_token_changes_its_block_and_all_later_ones) {
  BlockHasher hasher(Algorithm::kXxhashCbor, "0");
  std::vector<std::int32_t> tokens(40, 5);
  HashChain a(&hasher, 4, "");
  a.extend(tokens);
  tokens[21] = 6;
  HashChain b(&hasher, 4, "");
  b.extend(tokens);
  for (std::size_t i = 0; i < 10; ++i) EXPECT_EQ(a.blocks()[i] == b.blocks()[i], i < 5) << i;
}

TEST(ParseAlgorithm, knows_its_names_and_says_which_it_knows) {
  EXPECT_EQ(parse_algorithm("sha256").value(), Algorithm::kSha256Cbor);
  EXPECT_EQ(parse_algorithm("sha256_cbor").value(), Algorithm::kSha256Cbor);
  EXPECT_EQ(parse_algorithm("xxhash").value(), Algorithm::kXxhashCbor);
  EXPECT_EQ(parse_algorithm("xxhash_cbor").value(), Algorithm::kXxhashCbor);
  const auto bad = parse_algorithm("md5");
  ASSERT_FALSE(bad.ok());
  EXPECT_NE(bad.error().message.find("'md5'"), std::string::npos);
}

}  // namespace
}  // namespace braid::prefix
