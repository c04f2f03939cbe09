// SPDX-License-Identifier: Apache-2.0
#include "gateway/answer_rewriter.h"

#include "protocol/json_text.h"

namespace braid::gateway {
namespace {

bool replace_first(std::string& text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  if (at == text.npos) return false;
  text.replace(at, from.size(), to);
  return true;
}

}  // namespace

AnswerRewriter::AnswerRewriter(const AnswerChanges& changes) : idle_(changes.none()), cached_tokens_(changes.cached_tokens) {
  if (changes.model_from.empty()) return;
  const std::string name = protocol::json_string(changes.model_from);
  from_ = "\"model\":" + name;
  from_spaced_ = "\"model\": " + name;
  to_ = "\"model\":" + protocol::json_string(changes.model_to);
}

void AnswerRewriter::change(std::string& line) const {
  if (!from_.empty() && !replace_first(line, from_, to_)) replace_first(line, from_spaced_, to_);
  if (!cached_tokens_) return;
  constexpr std::string_view kName = "\"cached_tokens\":";
  const std::size_t at = line.rfind(kName);
  if (at == line.npos) return;
  const std::size_t begin = line.find_first_not_of(' ', at + kName.size());
  if (begin == line.npos) return;
  const std::size_t end = line.find_first_of(",} \r\n", begin);
  line.replace(begin, end == line.npos ? line.npos : end - begin, std::to_string(*cached_tokens_));
}

std::string AnswerRewriter::feed(std::string_view bytes) {
  std::string out;
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    line_ += bytes.substr(0, end == bytes.npos ? end : end + 1);
    if (end == bytes.npos) break;
    change(line_);
    out += line_;
    line_.clear();
    bytes.remove_prefix(end + 1);
  }
  return out;
}

std::string AnswerRewriter::finish() {
  change(line_);
  return std::move(line_);
}

}  // namespace braid::gateway
