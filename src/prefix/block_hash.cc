// SPDX-License-Identifier: Apache-2.0
#include "prefix/block_hash.h"

#include <openssl/evp.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace braid::prefix {
namespace {

// CBOR major types, shifted into place.
constexpr std::uint8_t kUnsigned = 0x00;
constexpr std::uint8_t kNegative = 0x20;
constexpr std::uint8_t kBytes = 0x40;
constexpr std::uint8_t kText = 0x60;
constexpr std::uint8_t kArray = 0x80;
constexpr std::uint8_t kNull = 0xf6;

void put_big_endian(std::vector<std::uint8_t>& out, std::uint64_t value, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    out.push_back(static_cast<std::uint8_t>(value >> shift));
  }
}

// The shortest head for `value`, which is what makes the encoding canonical.
void put_head(std::vector<std::uint8_t>& out, std::uint8_t major, std::uint64_t value) {
  if (value < 24) {
    out.push_back(static_cast<std::uint8_t>(major | value));
  } else if (value <= 0xff) {
    out.push_back(major | 24);
    put_big_endian(out, value, 1);
  } else if (value <= 0xffff) {
    out.push_back(major | 25);
    put_big_endian(out, value, 2);
  } else if (value <= 0xffffffff) {
    out.push_back(major | 26);
    put_big_endian(out, value, 4);
  } else {
    out.push_back(major | 27);
    put_big_endian(out, value, 8);
  }
}

void put_integer(std::vector<std::uint8_t>& out, std::int64_t value) {
  if (value >= 0) {
    put_head(out, kUnsigned, static_cast<std::uint64_t>(value));
  } else {
    put_head(out, kNegative, static_cast<std::uint64_t>(-(value + 1)));
  }
}

void put_text(std::vector<std::uint8_t>& out, std::string_view text) {
  put_head(out, kText, text.size());
  out.insert(out.end(), text.begin(), text.end());
}

}  // namespace

struct BlockHasher::Digest {
  EVP_MD* sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~Digest() {
    EVP_MD_CTX_free(context);
    EVP_MD_free(sha256);
  }
};

Result<Algorithm> parse_algorithm(std::string_view name) {
  if (name == "sha256" || name == "sha256_cbor") return Algorithm::kSha256Cbor;
  if (name == "xxhash" || name == "xxhash_cbor") return Algorithm::kXxhashCbor;
  return invalid_argument("prefix-caching-hash-algo is '" + std::string(name) +
                              "'; it must be sha256, sha256_cbor, xxhash or xxhash_cbor",
                          "prefix-caching-hash-algo");
}

const char* name_of(Algorithm algorithm) {
  return algorithm == Algorithm::kSha256Cbor ? "sha256_cbor" : "xxhash_cbor";
}

std::uint64_t BlockHash::low64() const {
  std::uint64_t value = 0;
  for (int i = size - 8; i < size; ++i) value = value << 8 | bytes[static_cast<std::size_t>(i)];
  return value;
}

std::string BlockHash::hex() const {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : digest()) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

BlockHasher::BlockHasher(Algorithm algorithm, std::string_view seed)
    : algorithm_(algorithm), digest_(std::make_unique<Digest>()) {
  put_text(buffer_, seed);
  none_ = digest_buffer();
}

BlockHasher::~BlockHasher() = default;

BlockHash BlockHasher::hash(const BlockHash& parent,
                            std::span<const std::int32_t> tokens,
                            std::string_view salt) {
  buffer_.clear();
  put_head(buffer_, kArray, 3);
  put_head(buffer_, kBytes, parent.size);
  buffer_.insert(buffer_.end(), parent.bytes.begin(), parent.bytes.begin() + parent.size);
  put_head(buffer_, kArray, tokens.size());
  for (const std::int32_t token : tokens) put_integer(buffer_, token);
  if (salt.empty()) {
    buffer_.push_back(kNull);
  } else {
    put_head(buffer_, kArray, 1);
    put_text(buffer_, salt);
  }
  return digest_buffer();
}

BlockHash BlockHasher::digest_buffer() {
  BlockHash hash;
  if (algorithm_ == Algorithm::kSha256Cbor) {
    const bool done = EVP_DigestInit_ex2(digest_->context, digest_->sha256, nullptr) == 1 &&
                      EVP_DigestUpdate(digest_->context, buffer_.data(), buffer_.size()) == 1 &&
                      EVP_DigestFinal_ex(digest_->context, hash.bytes.data(), nullptr) == 1;
    CHECK(done, "SHA-256 is not available in OpenSSL");
    hash.size = 32;
  } else {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(buffer_.data(), buffer_.size()));
    std::memcpy(hash.bytes.data(), canonical.digest, sizeof canonical.digest);
    hash.size = 16;
  }
  return hash;
}

}  // namespace braid::prefix
