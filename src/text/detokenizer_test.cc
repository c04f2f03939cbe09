// SPDX-License-Identifier: Apache-2.0
// Any sequence of ids in any chunking against a slow twin that knows characters by their numbers.
#include "text/detokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "text/utf8.h"

namespace braid::text {
namespace {

const std::string kModel = std::string(BRAID_SOURCE_DIR) + "/models/lexicon-30m";

bool is_character(std::string_view bytes) {
  if (bytes.empty() || bytes.size() > 4) return false;
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  if (bytes.size() == 1) return byte(0) < 0x80;
  const unsigned marks[] = {0, 0, 0xC0, 0xE0, 0xF0}, masks[] = {0, 0, 0x1F, 0x0F, 0x07};
  const unsigned smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const std::size_t size = bytes.size();
  if ((byte(0) & ~masks[size] & 0xFF) != marks[size]) return false;
  unsigned code = byte(0) & masks[size];
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return false;
    code = code << 6 | (byte(i) & 0x3F);
  }
  return code >= smallest[size] && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
}

bool begins_character(const std::string& bytes, int more = 3) {
  if (more == 0) return false;
  for (const unsigned char next : {0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF}) {
    const std::string longer = bytes + static_cast<char>(next);
    if (is_character(longer) || begins_character(longer, more - 1)) return true;
  }
  return false;
}

struct Twin {
  std::string text;  // what is certain
  bool unfinished = false;
};

Twin decode_slowly(const std::string& bytes) {
  Twin twin;
  for (std::size_t at = 0; at < bytes.size();) {
    std::size_t size = 0;
    for (std::size_t n = 1; n <= 4 && at + n <= bytes.size(); ++n) {
      if (is_character(bytes.substr(at, n))) size = n;
    }
    if (size > 0) {
      twin.text += bytes.substr(at, size);
    } else {
      size = 1;
      while (size < 3 && at + size < bytes.size() && begins_character(bytes.substr(at, size + 1))) ++size;
      twin.unfinished = at + size == bytes.size() && begins_character(bytes.substr(at, size));
      if (twin.unfinished) break;
      twin.text += kReplacement;
    }
    at += size;
  }
  return twin;
}

class AnySequence : public testing::TestWithParam<bool> {};

TEST_P(AnySequence, GivesWholeCharactersAsSoonAsTheyAreCertain) {
  const bool skip_special = GetParam();
  const auto tokenizer = *load_tokenizer(kModel);
  std::vector<std::int32_t> pieces;  // tokens of parts of characters
  for (std::int32_t id = 0; id < tokenizer->vocabulary_size(); ++id) {
    const std::string& bytes = tokenizer->bytes(id);
    if (!decode_slowly(bytes).text.empty() && bytes.find_first_of("\xC3\xE4\xF0") == std::string::npos) continue;
    pieces.push_back(id);
  }
  ASSERT_GT(pieces.size(), 50u);
  std::mt19937 random(11);
  for (int round = 0; round < 3000; ++round) {
    Detokenizer detokenizer(tokenizer, skip_special);
    std::vector<std::int32_t> ids;
    std::string bytes, text;
    for (int chunk = 0; chunk < 6; ++chunk) {
      const std::size_t first = ids.size();
      for (unsigned n = random() % 4; n > 0; --n) {
        const bool piece = random() % 4 > 0;
        ids.push_back(piece ? pieces[random() % pieces.size()] : static_cast<std::int32_t>(random() % 4200) - 20);
        if (!skip_special || !tokenizer->is_special(ids.back())) bytes += tokenizer->bytes(ids.back());
      }
      text += detokenizer.append(std::span(ids).subspan(first));
      ASSERT_EQ(text, decode_slowly(bytes).text);
    }
    text += detokenizer.finish();
    const Twin twin = decode_slowly(bytes);
    EXPECT_EQ(text, twin.text + std::string(twin.unfinished ? kReplacement : ""));
    EXPECT_EQ(text, tokenizer->decode(ids, skip_special));
  }
}

INSTANTIATE_TEST_SUITE_P(SpecialTokens, AnySequence, testing::Bool(),
                         [](const auto& skips) { return skips.param ? "Skipped" : "Shown"; });

TEST(Utf8, DecodesAnyBytesAsTheTwinDoes) {
  std::mt19937 random(3);
  const unsigned char edges[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF,
                                 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF};
  for (int round = 0; round < 30000; ++round) {
    std::string bytes, text;
    for (unsigned n = random() % 8; n > 0; --n) bytes += static_cast<char>(edges[random() % std::size(edges)]);
    const std::size_t used = decode_utf8(bytes, text);
    const Twin twin = decode_slowly(bytes);
    ASSERT_EQ(text, twin.text);
    ASSERT_EQ(used < bytes.size(), twin.unfinished);
  }
}

}  // namespace
}  // namespace braid::text
