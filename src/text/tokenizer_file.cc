// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer_file.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/files.h"

namespace braid::text {
namespace {

using Json = nlohmann::json;

// Special tokens follow the others: this many, of which those without a name are reserved.
constexpr int kSpecialTokens = 256;

constexpr std::string_view kKimi =
    R"([\p{Han}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct Pattern {
  std::string_view module;
  std::string_view regex;
};
constexpr Pattern kPatterns[] = {{"tokenization_kimi", kKimi}, {"tokenization_moonshot", kKimi}};

std::optional<std::string> from_base64(std::string_view text) {
  static constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  std::string bytes;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const std::size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    if ((count += 6) < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<char>(bits >> count & 0xff));
  }
  return bytes;
}

// How byte-level BPE writes each byte: as a printable character, in UTF-8.
std::array<std::string, 256> byte_characters() {
  std::array<std::string, 256> all;
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    const int code = printable ? byte : next++;
    auto& text = all[static_cast<std::size_t>(byte)];
    if (code < 128) text = static_cast<char>(code);
    else text = {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 63))};
  }
  return all;
}

std::string written(std::string_view bytes) {
  static const auto kCharacters = byte_characters();
  std::string text;
  for (const char byte : bytes) text += kCharacters[static_cast<unsigned char>(byte)];
  return text;
}

struct Ranks {
  std::vector<std::pair<std::string, int>> tokens;  // by rank
  std::unordered_map<std::string_view, int> rank_of;
};

Result<Ranks> read_ranks(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, read_file(path));
  Ranks ranks;
  int number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.empty() || line == "\r") continue;
    const std::size_t space = line.find(' ');
    const auto token = from_base64(line.substr(0, space));
    int rank = -1;
    if (space != std::string_view::npos) std::from_chars(line.data() + space + 1, line.data() + line.size(), rank);
    if (!token || token->empty() || rank < 0) return invalid_argument(path + ", line " + std::to_string(number) + ": expected a token in base64 and its rank");
    ranks.tokens.emplace_back(*token, rank);
  }
  std::ranges::sort(ranks.tokens, {}, [](const auto& token) { return token.second; });
  for (const auto& [token, rank] : ranks.tokens) ranks.rank_of.emplace(token, rank);
  if (ranks.rank_of.size() != ranks.tokens.size() || ranks.tokens.empty()) return invalid_argument(path + " has a token twice, or none");
  return ranks;
}

// Of one rank: those with parts of lower rank first.
Json merges_of(const Ranks& ranks) {
  Json merges = Json::array();
  std::vector<std::array<int, 3>> ways;  // ranks of both parts, where they meet
  for (const auto& [token, rank] : ranks.tokens) {
    ways.clear();
    const std::string_view whole = token;
    for (std::size_t cut = 1; cut < whole.size(); ++cut) {
      const auto left = ranks.rank_of.find(whole.substr(0, cut)), right = ranks.rank_of.find(whole.substr(cut));
      if (left == ranks.rank_of.end() || right == ranks.rank_of.end()) continue;
      ways.push_back({left->second, right->second, static_cast<int>(cut)});
    }
    std::ranges::sort(ways);
    for (const auto& way : ways) {
      const auto cut = static_cast<std::size_t>(way[2]);
      merges.push_back(written(whole.substr(0, cut)) + " " + written(whole.substr(cut)));
    }
  }
  return merges;
}

Json special_tokens(const Json& config, int first) {
  std::map<int, Json> tokens;
  for (int id = first; id < first + kSpecialTokens; ++id) tokens[id] = {{"content", "<|reserved_token_" + std::to_string(id) + "|>"}};
  const Json named = config.value("added_tokens_decoder", Json::object());
  for (const auto& [key, token] : named.items()) {
    int id = -1;
    std::from_chars(key.data(), key.data() + key.size(), id);
    if (id >= first && token.is_object() && token.contains("content")) tokens[id] = token;
  }
  Json list = Json::array();
  for (const auto& [id, token] : tokens) {
    Json entry = {{"id", id}, {"content", token["content"]}, {"special", token.value("special", true)}};
    for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized"}) entry[flag] = token.value(flag, false);
    list.push_back(std::move(entry));
  }
  return list;
}

Result<std::string_view> pattern_of(const Json& config, const std::string& path) {
  const Json map = config.value("auto_map", Json::object());
  const Json entry = map.is_object() ? map.value("AutoTokenizer", Json()) : Json();
  const Json named = entry.is_array() && !entry.empty() ? entry.front() : entry;
  const std::string name = named.is_string() ? named.get<std::string>() : "";
  const std::string module = name.substr(name.rfind("--") == std::string::npos ? 0 : name.rfind("--") + 2);
  for (const Pattern& known : kPatterns) {
    if (module.substr(0, module.find('.')) == known.module) return known.regex;
  }
  return invalid_argument(path + ": auto_map.AutoTokenizer is \"" + name + "\", whose way to split text is not known (known: tokenization_kimi, tokenization_moonshot); "
                          "put a tokenizer.json beside tiktoken.model", "tokenizer");
}

Result<std::string> convert(const std::string& folder) {
  const std::string config_path = folder + "/tokenizer_config.json";
  ASSIGN_OR_RETURN(const std::string text, read_file(config_path));
  const Json config = Json::parse(text, nullptr, false);
  if (!config.is_object()) return invalid_argument(config_path + " is not valid JSON");
  ASSIGN_OR_RETURN(const std::string_view regex, pattern_of(config, config_path));
  ASSIGN_OR_RETURN(const Ranks ranks, read_ranks(folder + "/tiktoken.model"));
  Json vocabulary = Json::object();
  for (const auto& [token, rank] : ranks.tokens) vocabulary[written(token)] = rank;
  const Json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  const Json split = {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
  const Json tokenizer = {{"version", "1.0"},
                          {"truncation", nullptr},
                          {"padding", nullptr},
                          {"added_tokens", special_tokens(config, ranks.tokens.back().second + 1)},
                          {"normalizer", nullptr},
                          {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {split, bytes}}}},
                          {"post_processor", nullptr},
                          {"decoder", bytes},
                          {"model", {{"type", "BPE"}, {"ignore_merges", true}, {"vocab", std::move(vocabulary)}, {"merges", merges_of(ranks)}}}};
  return tokenizer.dump();
}

}  // namespace

bool has_tokenizer_file(const std::string& folder) { return exists(folder + "/tokenizer.json") || exists(folder + "/tiktoken.model"); }

Result<TokenizerFile> read_tokenizer_file(const std::string& folder) {
  TokenizerFile file;
  file.path = is_directory(folder) ? folder + "/tokenizer.json" : folder;
  if (!exists(file.path) && exists(folder + "/tiktoken.model")) {
    file.path = folder + "/tiktoken.model";
    ASSIGN_OR_RETURN(file.json, convert(folder));
  } else {
    ASSIGN_OR_RETURN(file.json, read_file(file.path));
  }
  return file;
}

}  // namespace braid::text
