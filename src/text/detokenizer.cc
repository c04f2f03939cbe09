// SPDX-License-Identifier: Apache-2.0
#include "text/detokenizer.h"

#include "text/utf8.h"

namespace braid::text {
namespace {

constexpr std::size_t kWindow = 24;

bool ends_unfinished(std::string_view text) { return text.ends_with(kReplacement); }

}  // namespace

Detokenizer::Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens)
    : tokenizer_(std::move(tokenizer)), skip_special_tokens_(skip_special_tokens) {}

std::string Detokenizer::append(std::span<const std::int32_t> tokens) {
  if (tokenizer_->decoding() == Decoding::kWhole) return append_whole(tokens);
  for (const auto token : tokens) {
    if (skip_special_tokens_ && tokenizer_->is_special(token)) continue;
    std::string_view bytes = tokenizer_->bytes(token);
    const bool strips = at_start_ && tokenizer_->decoding() == Decoding::kBytesWithoutFirstSpace;
    if (strips && bytes.starts_with(' ')) bytes.remove_prefix(1);
    at_start_ = false;
    pending_.append(bytes);
  }
  std::string text;
  pending_.erase(0, decode_utf8(pending_, text));
  return text;
}

std::string Detokenizer::append_whole(std::span<const std::int32_t> tokens) {
  window_.insert(window_.end(), tokens.begin(), tokens.end());
  const std::string text = tokenizer_->decode(window_, skip_special_tokens_);
  if (ends_unfinished(text) || text.size() < window_text_.size()) return {};
  std::string fresh = text.substr(window_text_.size());
  window_text_ = text;
  if (window_.size() > kWindow) {
    window_.erase(window_.begin(), window_.end() - kWindow / 2);
    window_text_ = tokenizer_->decode(window_, skip_special_tokens_);
  }
  return fresh;
}

std::string Detokenizer::finish() {
  if (tokenizer_->decoding() == Decoding::kWhole) {
    const std::string text = tokenizer_->decode(window_, skip_special_tokens_);
    std::string rest = text.size() > window_text_.size() ? text.substr(window_text_.size()) : std::string();
    window_text_ = text;
    return rest;
  }
  if (pending_.empty()) return {};
  pending_.clear();
  return std::string(kReplacement);
}

}  // namespace braid::text
