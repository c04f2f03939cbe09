// SPDX-License-Identifier: Apache-2.0
// The identity of a full block of tokens: a hash over everything that its keys and values depend on.
//
//   hash(block) = H( [parent hash or none-hash, [token ids], extra keys or null] )
//
// The triple is serialised as canonical CBOR (RFC 8949, 4.2): byte string, array of integers, and
// null or an array of text strings. The extra keys hold the cache salt, in the first block only; the
// chain carries it on. The none-hash is H(seed as CBOR text). With the same seed and algorithm these
// are the hashes of vLLM's `sha256_cbor` and `xxhash_cbor` with PYTHONHASHSEED set to that seed.
//
// `sha256` names sha256_cbor: vLLM's own `sha256` hashes a Python pickle, which nothing else can
// reproduce. `xxhash` (128 bit) is faster, but somebody who can choose prompts can construct
// collisions; use it only where all clients trust each other.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace braid::prefix {

enum class Algorithm { kSha256Cbor, kXxhashCbor };

// "sha256", "sha256_cbor", "xxhash" or "xxhash_cbor".
Result<Algorithm> parse_algorithm(std::string_view name);
const char* name_of(Algorithm algorithm);  // "sha256_cbor", "xxhash_cbor"

// A digest, big-endian. SHA-256 fills all 32 bytes, XXH3-128 the first 16.
struct BlockHash {
  std::array<std::uint8_t, 32> bytes{};
  std::uint8_t size = 0;

  std::span<const std::uint8_t> digest() const { return {bytes.data(), size}; }
  // The low 64 bits of the digest, which name the block in cache events.
  std::uint64_t low64() const;
  std::string hex() const;
  bool operator==(const BlockHash&) const = default;
};

struct BlockHashHasher {
  std::size_t operator()(const BlockHash& hash) const {
    std::size_t word;
    std::memcpy(&word, hash.bytes.data(), sizeof word);
    return word;
  }
};

// Thread rules: one thread at a time (it reuses its buffers).
class BlockHasher {
 public:
  BlockHasher(Algorithm algorithm, std::string_view seed);
  ~BlockHasher();
  BlockHasher(const BlockHasher&) = delete;
  BlockHasher& operator=(const BlockHasher&) = delete;

  // The parent of a sequence's first block.
  const BlockHash& none() const { return none_; }
  // `salt` empty: no extra keys.
  BlockHash hash(const BlockHash& parent,
                 std::span<const std::int32_t> tokens,
                 std::string_view salt = {});

 private:
  struct Digest;
  BlockHash digest_buffer();

  Algorithm algorithm_;
  std::unique_ptr<Digest> digest_;
  std::vector<std::uint8_t> buffer_;
  BlockHash none_;
};

}  // namespace braid::prefix
