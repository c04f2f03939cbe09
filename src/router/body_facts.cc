// SPDX-License-Identifier: Apache-2.0
#include "router/body_facts.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

namespace braid::router {
namespace {

constexpr std::size_t kDeepest = 512;

Error malformed(const char* what, std::size_t at) {
  return invalid_argument("the request body is not valid JSON: " + std::string(what) + " at byte " + std::to_string(at),
                          "body");
}

Error mistyped(std::string_view field, const char* wanted) {
  return invalid_argument("'" + std::string(field) + "' of the request body must be " + wanted, std::string(field));
}

void append_utf8(std::string& out, std::uint32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xc0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xe0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3f));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  }
}

// The four digits after "\u", or -1.
int hex4(std::string_view text) {
  unsigned value = 0;
  if (text.size() < 4) return -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + 4, value, 16);
  return error == std::errc() && end == text.data() + 4 ? static_cast<int>(value) : -1;
}

// The text of a JSON string without its quotes. What is no escape stays as it is.
std::string unescape(std::string_view raw) {
  std::string out;
  for (std::size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] != '\\' || i + 1 == raw.size()) {
      out += raw[i];
      continue;
    }
    const char c = raw[++i];
    static constexpr std::string_view kFrom = "bfnrt";
    static constexpr std::string_view kTo = "\b\f\n\r\t";
    if (const std::size_t at = kFrom.find(c); at != std::string_view::npos) {
      out += kTo[at];
    } else if (const int unit = c == 'u' ? hex4(raw.substr(i + 1)) : -1; unit >= 0) {
      i += 4;
      std::uint32_t code = static_cast<std::uint32_t>(unit);
      const bool high = code >= 0xd800 && code < 0xdc00 && raw.substr(i + 1, 2) == "\\u";
      const int low = high ? hex4(raw.substr(i + 3)) : -1;
      if (low >= 0xdc00 && low < 0xe000) {
        code = 0x10000 + ((code - 0xd800) << 10) + (static_cast<std::uint32_t>(low) - 0xdc00);
        i += 6;
      }
      append_utf8(out, code);
    } else {
      out += c;
    }
  }
  return out;
}

bool names_media(std::string_view type) {
  return type == "image_url" || type == "video_url" || type == "input_audio" || type == "audio_url" ||
         type == "input_image" || type == "image";
}

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  std::size_t at() const { return at_; }
  bool ended() const { return at_ == text_.size(); }
  char peek() const { return ended() ? '\0' : text_[at_]; }
  bool media_seen() const { return media_; }

  void skip_space() {
    while (!ended() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) ++at_;
  }
  bool take(char c) {
    skip_space();
    if (peek() != c) return false;
    ++at_;
    return true;
  }

  // The raw text between the quotes; false if there is no whole string here.
  bool string(std::string_view& raw) {
    if (peek() != '"') return false;
    const std::size_t begin = ++at_;
    while (true) {
      const void* found = std::memchr(text_.data() + at_, '"', text_.size() - at_);
      if (found == nullptr) return false;
      const std::size_t quote = static_cast<std::size_t>(static_cast<const char*>(found) - text_.data());
      std::size_t slashes = 0;
      while (quote - slashes > begin && text_[quote - slashes - 1] == '\\') ++slashes;
      at_ = quote + 1;
      if (slashes % 2 == 1) continue;
      raw = text_.substr(begin, quote - begin);
      return true;
    }
  }

  // Skips one value of any kind.
  bool value() {
    skip_space();
    std::string_view raw;
    if (peek() == '"') return string(raw);
    if (peek() != '{' && peek() != '[') return scalar();
    return container();
  }

 private:
  bool scalar() {
    const std::size_t begin = at_;
    while (!ended() && std::strchr(",]} \n\t\r", text_[at_]) == nullptr) ++at_;
    const std::string_view word = text_.substr(begin, at_ - begin);
    if (word == "true" || word == "false" || word == "null") return true;
    double number = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
    return !word.empty() && error == std::errc() && end == word.data() + word.size();
  }

  bool container() {
    std::array<char, kDeepest> open;
    std::size_t depth = 0;
    std::string_view key;
    do {
      skip_space();
      const char c = peek();
      if (c == '{' || c == '[') {
        if (depth == kDeepest) return false;
        open[depth++] = c;
        ++at_;
      } else if (c == '}' || c == ']') {
        if (open[--depth] != (c == '}' ? '{' : '[')) return false;
        ++at_;
      } else if (c == ',' || c == ':') {
        ++at_;
      } else if (c == '"') {
        std::string_view raw;
        if (!string(raw)) return false;
        skip_space();
        if (peek() == ':') {
          key = raw;
        } else if (key == "type" && names_media(raw)) {
          media_ = true;
        }
      } else if (!scalar()) {
        return false;
      }
    } while (depth > 0);
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  bool media_ = false;
};

std::optional<std::int64_t> integer_of(std::string_view json) {
  double number = 0;
  const auto [end, error] = std::from_chars(json.data(), json.data() + json.size(), number);
  if (error != std::errc() || end != json.data() + json.size()) return std::nullopt;
  if (!(std::abs(number) < 9e15) || number != static_cast<double>(static_cast<std::int64_t>(number))) return std::nullopt;
  return static_cast<std::int64_t>(number);
}

// [1, 2, 3], or the first of [[1, 2], [3]]. False: not a list of ids.
bool read_ids(std::string_view json, std::vector<std::int32_t>& ids) {
  const auto blank = [](char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; };
  std::size_t at = 0;
  const auto skip = [&] {
    while (at < json.size() && blank(json[at])) ++at;
  };
  int depth = 0;
  for (skip(); at < json.size() && json[at] == '[' && depth < 2; skip()) ++depth, ++at;
  if (depth == 0) return false;
  while (at < json.size()) {
    std::int32_t id = 0;
    const auto [end, error] = std::from_chars(json.data() + at, json.data() + json.size(), id);
    if (error != std::errc()) return false;
    ids.push_back(id);
    at = static_cast<std::size_t>(end - json.data());
    skip();
    if (at < json.size() && json[at] == ']') return true;
    if (at == json.size() || json[at] != ',') return false;
    ++at;
    skip();
  }
  return false;
}

struct PromptField {
  Api api;
  std::string_view name;
};
// In the order in which templates put them before the model.
constexpr PromptField kPromptFields[] = {
    {Api::kOpenAi, "tools"},     {Api::kOpenAi, "instructions"}, {Api::kOpenAi, "messages"}, {Api::kOpenAi, "prompt"},
    {Api::kOpenAi, "input"},     {Api::kAnthropic, "tools"},     {Api::kAnthropic, "system"}, {Api::kAnthropic, "messages"},
    {Api::kVllm, "token_ids"},   {Api::kVllm, "prompt"},         {Api::kSglang, "text"},      {Api::kSglang, "input_ids"},
};

class BodyReader {
 public:
  BodyReader(std::string_view body, Api api) : body_(body), api_(api), scan_(body) {}

  Result<BodyFacts> read() {
    RETURN_IF_ERROR(object([this](std::string_view key, Piece value) { return field(key, value); }));
    scan_.skip_space();
    if (!scan_.ended()) return malformed("something follows the object", scan_.at());
    collect_prompt();
    facts_.multimodal = scan_.media_seen();
    return std::move(facts_);
  }

 private:
  template <class Take>
  Status object(Take&& take) {
    if (!scan_.take('{')) return malformed("an object is expected", scan_.at());
    if (scan_.take('}')) return {};
    do {
      scan_.skip_space();
      std::string_view key;
      if (!scan_.string(key)) return malformed("a key is expected", scan_.at());
      if (!scan_.take(':')) return malformed("a colon is expected", scan_.at());
      scan_.skip_space();
      const std::size_t begin = scan_.at();
      if (!scan_.value()) return malformed("a value is broken", scan_.at());
      RETURN_IF_ERROR(take(key, Piece{begin, scan_.at() - begin}));
    } while (scan_.take(','));
    if (!scan_.take('}')) return malformed("a comma or the object's end is expected", scan_.at());
    return {};
  }

  Status text(std::string_view key, Piece value, std::string& into) {
    const std::string_view json = value.in(body_);
    if (json == "null") return {};
    if (json.front() != '"') return mistyped(key, "a string");
    into = unescape(json.substr(1, json.size() - 2));
    return {};
  }

  Status number(std::string_view key, Piece value, std::optional<std::int64_t>& into) {
    const std::string_view json = value.in(body_);
    if (json == "null") return {};
    into = integer_of(json);
    return into ? Status() : mistyped(key, "an integer");
  }

  Status field(std::string_view key, Piece value) {
    if (key == "model") {
      facts_.model_value = value;
      return text(key, value, facts_.model);
    }
    if (key == "cache_salt") return text(key, value, facts_.cache_salt);
    if (key == "user") return text(key, value, facts_.user);
    if (key == "priority") return number(key, value, facts_.priority);
    if (key == "max_completion_tokens" || key == "max_tokens" || key == "max_output_tokens") {
      if (facts_.max_tokens && key == "max_tokens") return {};
      return number(key, value, facts_.max_tokens);
    }
    if (key == "stream") {
      const std::string_view json = value.in(body_);
      if (json != "true" && json != "false" && json != "null") return mistyped(key, "true or false");
      facts_.streaming = json == "true";
    }
    if (key == "sampling_params" && (api_ == Api::kVllm || api_ == Api::kSglang)) return sampling(value);
    for (std::size_t i = 0; i < std::size(kPromptFields); ++i) {
      if (kPromptFields[i].api == api_ && kPromptFields[i].name == key) prompt_[i] = value;
    }
    return {};
  }

  Status sampling(Piece value) {
    if (value.in(body_).front() != '{') return {};
    BodyReader inner(value.in(body_), Api::kNone);
    return inner.object([&](std::string_view key, Piece found) -> Status {
      if (key != "max_tokens" && key != "max_new_tokens") return {};
      return number(key, {value.begin + found.begin, found.size}, facts_.max_tokens);
    });
  }

  void collect_prompt() {
    for (Piece piece : prompt_) {
      if (piece.empty() || piece.in(body_) == "null") continue;
      const std::string_view json = piece.in(body_);
      if (json.front() == '[' && facts_.token_ids.empty()) {
        std::vector<std::int32_t> ids;
        if (read_ids(json, ids)) facts_.token_ids = std::move(ids);
      }
      if (json.front() == '"') piece = {piece.begin + 1, piece.size - 2};
      facts_.prompt.push_back(piece);
    }
  }

  std::string_view body_;
  Api api_;
  Scanner scan_;
  BodyFacts facts_;
  std::array<Piece, std::size(kPromptFields)> prompt_{};
};

}  // namespace

Api api_of(std::string_view path) {
  struct Claim {
    std::string_view suffix;
    Api api;
  };
  static constexpr Claim kClaims[] = {
      {"/chat/completions", Api::kOpenAi},     {"/completions", Api::kOpenAi},
      {"/embeddings", Api::kOpenAi},           {"/responses", Api::kOpenAi},
      {"/conversations", Api::kOpenAi},        {"/images/generations", Api::kOpenAi},
      {"/completions/render", Api::kOpenAi},   {"/chat/completions/render", Api::kOpenAi},
      {"/messages", Api::kAnthropic},          {"/messages/count_tokens", Api::kAnthropic},
      {"/inference/v1/generate", Api::kVllm},  {"/generate", Api::kSglang},
  };
  for (const Claim& claim : kClaims) {
    if (path.ends_with(claim.suffix)) return claim.api;
  }
  return Api::kNone;
}

std::size_t BodyFacts::prompt_bytes() const {
  std::size_t bytes = 0;
  for (const Piece& piece : prompt) bytes += piece.size;
  return bytes;
}

Result<BodyFacts> scan_body(std::string_view body, Api api) { return BodyReader(body, api).read(); }

}  // namespace braid::router
