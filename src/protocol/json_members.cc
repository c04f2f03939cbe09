// SPDX-License-Identifier: Apache-2.0
#include "protocol/json_members.h"

#include <algorithm>
#include <cstring>

namespace braid::protocol {
namespace {

constexpr std::string_view kBlank = " \t\r\n";

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  char peek() {
    at_ = std::min(text_.find_first_not_of(kBlank, at_), text_.size());
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  std::size_t at() const { return at_; }

  // The text between the quotes; a view without data if there is no whole string here.
  std::string_view string() {
    if (!take('"')) return {};
    const std::size_t begin = at_;
    for (;;) {
      const std::size_t quote = text_.find('"', at_);
      if (quote == text_.npos) return {};
      at_ = quote + 1;
      std::size_t slashes = 0;
      while (quote - slashes > begin && text_[quote - slashes - 1] == '\\') ++slashes;
      if (slashes % 2 == 0) return text_.substr(begin, quote - begin);
    }
  }

  // The text of one value of any kind; empty if there is none.
  std::string_view value() {
    const char first = peek();
    const std::size_t begin = at_;
    if (first == '"') return string().data() == nullptr ? std::string_view() : text_.substr(begin, at_ - begin);
    if (first != '{' && first != '[') {
      at_ = std::min(text_.find_first_of(",]} \t\r\n", at_), text_.size());
      return text_.substr(begin, at_ - begin);
    }
    int depth = 0;
    do {
      at_ = text_.find_first_of("\"{}[]", at_);
      if (at_ == text_.npos) return {};
      const char c = text_[at_];
      if (c == '"') {
        if (string().data() == nullptr) return {};
        continue;
      }
      depth += c == '{' || c == '[' ? 1 : -1;
      ++at_;
    } while (depth > 0);
    return text_.substr(begin, at_ - begin);
  }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

Error broken(std::size_t at) { return invalid_argument("the body is not one JSON object: it breaks off at byte " + std::to_string(at), "body"); }

}  // namespace

Result<std::vector<JsonMember>> json_members(std::string_view text) {
  Reader reader(text);
  std::vector<JsonMember> members;
  if (!reader.take('{')) return broken(reader.at());
  if (!reader.take('}')) {
    do {
      const std::string_view key = reader.string();
      if (key.data() == nullptr || !reader.take(':')) return broken(reader.at());
      const std::string_view value = reader.value();
      if (value.empty()) return broken(reader.at());
      members.push_back({key, value});
    } while (reader.take(','));
    if (!reader.take('}')) return broken(reader.at());
  }
  if (reader.peek() != '\0') return broken(reader.at());
  return members;
}

std::string_view find_member(const std::vector<JsonMember>& members, std::string_view key) {
  const auto found = std::find_if(members.rbegin(), members.rend(), [&](const JsonMember& m) { return m.key == key; });
  return found == members.rend() ? std::string_view() : found->value;
}

std::string edit_members(const std::vector<JsonMember>& members, const std::vector<JsonEdit>& edits) {
  std::size_t size = 64;
  for (const auto& m : members) size += m.key.size() + m.value.size() + 8;
  std::string out;
  out.reserve(size);
  const auto add = [&](std::string_view key, std::string_view value) {
    out.append(out.empty() ? "{\"" : ",\"").append(key).append("\":").append(value);
  };
  std::vector<bool> used(edits.size());
  for (const auto& m : members) {
    const auto edit = std::find_if(edits.begin(), edits.end(), [&](const JsonEdit& e) { return e.key == m.key; });
    if (edit == edits.end()) {
      add(m.key, m.value);
      continue;
    }
    const auto i = static_cast<std::size_t>(edit - edits.begin());
    if (edit->value && !used[i]) add(m.key, *edit->value);
    used[i] = true;
  }
  for (std::size_t i = 0; i < edits.size(); ++i) {
    if (edits[i].value && !used[i]) add(edits[i].key, *edits[i].value);
  }
  return out.empty() ? "{}" : out + "}";
}

}  // namespace braid::protocol
