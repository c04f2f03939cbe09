// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "text/grammar.h"
#include "text/tokenizer.h"

namespace braid::text {
namespace {

namespace fs = std::filesystem;

std::string base64(const std::string& bytes) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t bits = 0;
    for (std::size_t j = i; j < i + 3; ++j) bits = bits << 8 | (j < bytes.size() ? static_cast<unsigned char>(bytes[j]) : 0u);
    for (std::size_t j = 0; j < 4; ++j) text += i + j <= bytes.size() ? digits[bits >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

// A folder as Kimi K2's, with the tokens of lexicon-30m: 4091 and special ones behind them.
class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / ("braid-tiktoken-" + std::to_string(getpid()))) {
    fs::create_directories(path_);
    const auto tokenizer = *load_tokenizer(std::string(BRAID_SOURCE_DIR) + "/models/lexicon-30m");
    std::string lines;
    int rank = 0;
    for (std::int32_t id = 0; id < tokenizer->vocabulary_size(); ++id) {
      if (!tokenizer->is_special(id) && tokenizer->bytes(id) != "<｜User｜>") lines += base64(tokenizer->bytes(id)) + " " + std::to_string(rank++) + "\n";
    }
    write("tiktoken.model", lines);
    write_module("tokenization_kimi.TikTokenTokenizer");
  }
  ~Folder() { fs::remove_all(path_); }

  void write(const std::string& name, const std::string& text) const { std::ofstream(path_ / name, std::ios::binary) << text; }
  void write_module(const std::string& module) const {
    const nlohmann::json config = {{"tokenizer_class", "TikTokenTokenizer"},
                                   {"auto_map", {{"AutoTokenizer", {module, nullptr}}}},
                                   {"added_tokens_decoder", {{"4091", {{"content", "[BOS]"}, {"special", true}}},
                                                             {"4093", {{"content", "<|tool_call_begin|>"}, {"special", false}}}}}};
    write("tokenizer_config.json", config.dump());
  }
  std::string error() const { return load_tokenizer(path_.string()).error().message; }
  std::string path() const { return path_.string(); }

 private:
  const fs::path path_;
};

// Ids by the tiktoken library 0.x of Python, with the same ranks and Kimi's pattern.
TEST(TiktokenModel, SplitsAndMergesAsTheLibraryDoes) {
  const Folder folder;
  const auto tokenizer = load_tokenizer(folder.path());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const std::pair<std::string, std::vector<std::int32_t>> cases[] = {
    {"The router's queue DOESN'T wait: 12345 tokens, 世界 and Grüße!",
     {446, 3002, 563, 3047, 602, 1685, 46, 36, 50, 45, 6, 51, 2351, 279, 25, 220, 3125, 18, 19, 20, 1382, 11,
      220, 160, 116, 244, 163, 243, 234, 339, 1039, 81, 127, 120, 127, 253, 68, 0}},
    {"  two  spaces\n\n\ttab\r\n end ",
     {220, 795, 220, 438, 2392, 198, 198, 197, 83, 390, 201, 198, 839, 220}},
    {"HTTPServer2Go naïve café 한국어 ελληνικά 混合English文本。",
     {39, 51, 51, 47, 50, 260, 318, 17, 3668, 345, 64, 127, 107, 289, 567, 69, 127, 102, 220, 169, 243, 250,
      166, 113, 255, 168, 244, 112, 220, 138, 113, 138, 119, 138, 119, 138, 115, 138, 121, 138, 117, 138, 118,
      138, 105, 220, 162, 115, 115, 161, 238, 230, 36, 1064, 1154, 162, 244, 229, 162, 250, 105, 159, 222, 224}},
    {"x=[1,22,333,4444];\n\n// don't we'll I'd\n",
     {87, 28, 58, 16, 11, 17, 17, 11, 18, 18, 18, 11, 19, 19, 19, 19, 60, 26, 198, 198, 14, 14, 3009, 1238,
      675, 6, 842, 898, 6, 67, 198}},
    {"aaaaaaaaaaa bbbbb      ccc 🌍🌍",
     {64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 291, 65, 65, 65, 65, 220, 220, 220, 220, 220, 268, 757, 220,
      172, 253, 234, 235, 172, 253, 234, 235}},
  };
  for (const auto& [text, ids] : cases) {
    EXPECT_EQ((*tokenizer)->encode(text, true), ids) << text;
    EXPECT_EQ((*tokenizer)->decode(ids, true), text);
  }
}

TEST(TiktokenModel, SpecialTokensFollowNamedOrReserved) {
  const Folder folder;
  const auto tokenizer = *load_tokenizer(folder.path());
  EXPECT_EQ(tokenizer->vocabulary_size(), 4091 + 256);
  EXPECT_EQ(tokenizer->id_of("<|reserved_token_4092|>"), 4092);
  EXPECT_EQ(tokenizer->encode("[BOS]<|tool_call_begin|>", false), (std::vector<std::int32_t>{4091, 4093}));
  EXPECT_TRUE(tokenizer->is_special(4091));
  EXPECT_FALSE(tokenizer->is_special(4093));
  EXPECT_TRUE(make_grammar_compiler(folder.path(), {4091}, 4347).ok());
}

TEST(TiktokenModel, SaysWhatIsWrong) {
  const Folder folder;
  folder.write_module("tokenization_other.Tokenizer");
  EXPECT_NE(folder.error().find("auto_map.AutoTokenizer is \"tokenization_other.Tokenizer\""), std::string::npos);
  folder.write_module("someone/repository--tokenization_moonshot.TikTokenTokenizer");
  EXPECT_TRUE(load_tokenizer(folder.path()).ok());
  folder.write("tiktoken.model", "IQ== 0\nnonsense\n");
  EXPECT_NE(folder.error().find("tiktoken.model, line 2: expected a token in base64 and its rank"), std::string::npos);
  folder.write("tiktoken.model", "\n");
  EXPECT_NE(folder.error().find("has a token twice, or none"), std::string::npos);
  folder.write("tokenizer_config.json", "{");
  EXPECT_NE(folder.error().find("tokenizer_config.json is not valid JSON"), std::string::npos);
}

TEST(TokenizerFile, TokenizerJsonGoesFirst) {
  const Folder folder;
  folder.write("tokenizer.json", "{}");
  EXPECT_NE(folder.error().find("tokenizer.json is not a tokenizer"), std::string::npos);
}

}  // namespace
}  // namespace braid::text
