// SPDX-License-Identifier: Apache-2.0
// Calls as a Python list, [name(key=value, …), …], which is the whole output: text after it makes it
// text. Python literals become JSON.
#include <cctype>
#include <optional>
#include <string>

#include "parse/json_text.h"
#include "parse/tool_format.h"

namespace braid::parse {
namespace {

struct PythonCall {
  std::string name;
  std::string arguments;
};

void append_utf8(std::string& text, unsigned long code) {
  const auto byte = [&](unsigned long value) { text += static_cast<char>(value); };
  if (code < 0x80) return byte(code);
  if (code < 0x800) return byte(0xC0 | code >> 6), byte(0x80 | (code & 0x3F));
  if (code < 0x10000) return byte(0xE0 | code >> 12), byte(0x80 | (code >> 6 & 0x3F)), byte(0x80 | (code & 0x3F));
  byte(0xF0 | (code >> 18 & 7)), byte(0x80 | (code >> 12 & 0x3F)), byte(0x80 | (code >> 6 & 0x3F)), byte(0x80 | (code & 0x3F));
}

class PythonList {
 public:
  explicit PythonList(std::string_view text) : text_(text) {}

  // Whether all of the text is a list of calls; `calls` then has them, else those that came first.
  bool read(std::vector<PythonCall>& calls) {
    if (!take('[')) return false;
    while (!take(']')) {
      if (!call(calls)) return false;
      if (!take(',') && !sees(']')) return false;
    }
    space();
    return at_ == text_.size() && !calls.empty();
  }

  bool incomplete() const { return at_ >= text_.size(); }

 private:
  static constexpr int kDeepest = 64;

  void space() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  }
  bool sees(char c) {
    space();
    return at_ < text_.size() && text_[at_] == c;
  }
  bool take(char c) {
    if (!sees(c)) return false;
    ++at_;
    return true;
  }

  std::string word(bool dotted) {
    space();
    const std::size_t from = at_;
    const auto belongs = [&](unsigned char c) { return std::isalnum(c) || c == '_' || (dotted && (c == '.' || c == '-')); };
    while (at_ < text_.size() && belongs(static_cast<unsigned char>(text_[at_]))) ++at_;
    return std::string(text_.substr(from, at_ - from));
  }

  bool call(std::vector<PythonCall>& calls) {
    const std::string name = word(true);
    if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0])) || !take('(')) return false;
    calls.push_back({name, "{"});
    while (!take(')')) {
      const std::string key = word(false);
      if (key.empty() || !take('=')) return false;
      const auto argument = value(0);
      if (!argument) return false;
      std::string& arguments = calls.back().arguments;
      arguments += (arguments.size() > 1 ? ", " : "") + quoted(key) + ": " + *argument;
      if (!take(',') && !sees(')')) return false;
    }
    calls.back().arguments += "}";
    return true;
  }

  std::optional<std::string> value(int depth) {
    space();
    if (depth > kDeepest || at_ >= text_.size()) return std::nullopt;
    switch (text_[at_]) {
      case '[': return items('[', ']', depth);
      case '(': return items('(', ')', depth);
      case '{': return pairs(depth);
      case '\'':
      case '"': return string();
      default: return literal();
    }
  }

  std::optional<std::string> items(char open, char close, int depth) {
    take(open);
    std::string result = "[";
    while (!take(close)) {
      const auto item = value(depth + 1);
      if (!item) return std::nullopt;
      result += (result.size() > 1 ? ", " : "") + *item;
      if (!take(',') && !sees(close)) return std::nullopt;
    }
    return result + "]";
  }

  std::optional<std::string> pairs(int depth) {
    take('{');
    std::string result = "{";
    while (!take('}')) {
      space();
      const auto key = value(depth + 1);
      if (!key || key->front() == '[' || key->front() == '{' || !take(':')) return std::nullopt;
      const auto item = value(depth + 1);
      if (!item) return std::nullopt;
      result += (result.size() > 1 ? ", " : "") + (key->front() == '"' ? *key : quoted(*key)) + ": " + *item;
      if (!take(',') && !sees('}')) return std::nullopt;
    }
    return result + "}";
  }

  std::optional<std::string> string() {
    const char quote = text_[at_++];
    std::string result;
    while (at_ < text_.size() && text_[at_] != quote) {
      if (text_[at_] != '\\') {
        result += text_[at_++];
        continue;
      }
      if (++at_ >= text_.size()) return std::nullopt;
      escape(result);
    }
    if (at_ >= text_.size()) return std::nullopt;
    ++at_;
    return quoted(result);
  }

  void escape(std::string& result) {
    const char c = text_[at_++];
    switch (c) {
      case 'n': result += '\n'; return;
      case 't': result += '\t'; return;
      case 'r': result += '\r'; return;
      case 'b': result += '\b'; return;
      case 'f': result += '\f'; return;
      case '\n': return;
      case '\\':
      case '\'':
      case '"': result += c; return;
      case 'x': return code_point(2, c, result);
      case 'u': return code_point(4, c, result);
      case 'U': return code_point(8, c, result);
      default: result += '\\'; result += c; return;
    }
  }

  void code_point(std::size_t digits, char kind, std::string& result) {
    const std::string hex(text_.substr(at_, digits));
    const bool fits = hex.size() == digits && hex.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
    if (!fits) {
      result += '\\';
      result += kind;
      return;
    }
    append_utf8(result, std::stoul(hex, nullptr, 16));
    at_ += digits;
  }

  std::optional<std::string> literal() {
    const std::size_t end = std::min(text_.find_first_of(",)]}: \t\r\n", at_), text_.size());
    const std::string_view word = text_.substr(at_, end - at_);
    at_ = end;
    if (word == "True" || word == "true") return "true";
    if (word == "False" || word == "false") return "false";
    if (word == "None" || word == "null") return "null";
    if (word.empty() || !is_json(word)) return std::nullopt;
    return std::string(word);
  }

  const std::string_view text_;
  std::size_t at_ = 0;
};

class Pythonic : public ToolFormat {
 protected:
  bool step(Sink& sink) override {
    const auto found = in_.until({"<|python_start|>", "<|python_end|>"});
    if (text_) sink.content(found.before);
    else held_ += found.before;
    if (!text_ && !may_be_calls()) become_text(sink);
    if (found.marker >= 0) return true;
    if (in_.ended() && !text_) settle(sink);
    return false;
  }

 private:
  // Whether the beginning fits: white space, "[", a name and "(".
  bool may_be_calls() {
    const std::string_view text = trimmed(held_);
    if (text.empty()) return true;
    if (text.front() != '[') return false;
    const std::string_view inside = trimmed(text.substr(1));
    if (inside.empty()) return true;
    const std::size_t open = inside.find('(');
    const std::string_view name = trimmed(inside.substr(0, open));
    for (const unsigned char c : name) {
      if (!std::isalnum(c) && c != '_' && c != '.' && c != '-') return false;
    }
    return !name.empty() && !std::isdigit(static_cast<unsigned char>(name.front()));
  }

  void become_text(Sink& sink) {
    text_ = true;
    sink.content(held_);
    held_.clear();
  }

  void settle(Sink& sink) {
    std::vector<PythonCall> calls;
    PythonList list(held_);
    const bool all = list.read(calls);
    if (!all && !(in_.cut() && list.incomplete())) return become_text(sink);
    for (const PythonCall& call : calls) sink.call(call.name, call.arguments);
  }

  bool text_ = false;
  std::string held_;
};

}  // namespace

std::unique_ptr<ToolFormat> make_pythonic() { return std::make_unique<Pythonic>(); }

}  // namespace braid::parse
