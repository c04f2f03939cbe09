// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer.h"

#include <cstring>
#include <unordered_map>

#include "text/core.h"
#include "text/tokenizer_file.h"

namespace braid::text {
namespace {

struct Freer {
  void operator()(BraidTokenizer* handle) const { braid_tokenizer_free(handle); }
};
using Handle = std::unique_ptr<BraidTokenizer, Freer>;

struct Entry {
  std::string token;
  std::string bytes;
  bool special = false;
};

std::uint32_t word(const std::string& data, std::size_t at) {
  std::uint32_t value;
  std::memcpy(&value, data.data() + at, 4);
  return value;
}

class CoreTokenizer final : public Tokenizer {
 public:
  explicit CoreTokenizer(Handle handle) : handle_(std::move(handle)) { read_table(); }

  std::vector<std::int32_t> encode(std::string_view text, bool add_special_tokens) const override {
    BraidBytes out{};
    const int failed = braid_tokenizer_encode(handle_.get(), as_text(text), add_special_tokens, &out);
    const std::string ids = take(out);
    if (failed) return {};
    std::vector<std::int32_t> tokens(ids.size() / 4);
    if (!tokens.empty()) std::memcpy(tokens.data(), ids.data(), tokens.size() * 4);
    return tokens;
  }

  std::string decode(std::span<const std::int32_t> ids, bool skip_special_tokens) const override {
    std::vector<std::uint32_t> words;
    for (auto id : ids) {
      if (id >= 0) words.push_back(static_cast<std::uint32_t>(id));
    }
    BraidBytes out{};
    const int failed =
        braid_tokenizer_decode(handle_.get(), words.data(), words.size(), skip_special_tokens, &out);
    std::string text = take(out);
    return failed ? std::string() : text;
  }

  std::int32_t vocabulary_size() const override { return static_cast<std::int32_t>(entries_.size()); }

  std::optional<std::int32_t> id_of(std::string_view token) const override {
    const auto found = ids_.find(std::string(token));
    if (found == ids_.end()) return std::nullopt;
    return found->second;
  }

  std::string token(std::int32_t id) const override { return known(id) ? at(id).token : std::string(); }
  const std::string& bytes(std::int32_t id) const override { return known(id) ? at(id).bytes : empty_; }
  bool is_special(std::int32_t id) const override { return known(id) && at(id).special; }
  Decoding decoding() const override { return decoding_; }

 private:
  bool known(std::int32_t id) const { return id >= 0 && static_cast<std::size_t>(id) < entries_.size(); }
  const Entry& at(std::int32_t id) const { return entries_[static_cast<std::size_t>(id)]; }

  void read_table() {
    BraidBytes out{};
    const int failed = braid_tokenizer_table(handle_.get(), &out);
    const std::string table = take(out);
    if (failed || table.size() < 16) return;
    decoding_ = word(table, 4) == 2   ? Decoding::kWhole
                : word(table, 8) == 1 ? Decoding::kBytesWithoutFirstSpace
                                      : Decoding::kBytes;
    entries_.resize(word(table, 0));
    std::size_t at = 16;
    for (std::size_t id = 0; id < entries_.size(); ++id) {
      const std::uint32_t flags = word(table, at), token = word(table, at + 4), bytes = word(table, at + 8);
      entries_[id] = {table.substr(at + 12, token), table.substr(at + 12 + token, bytes), (flags & 2) != 0};
      if (flags & 1) ids_.emplace(entries_[id].token, static_cast<std::int32_t>(id));
      at += 12 + token + bytes;
    }
  }

  Handle handle_;
  std::vector<Entry> entries_;
  std::unordered_map<std::string, std::int32_t> ids_;
  Decoding decoding_ = Decoding::kBytes;
  const std::string empty_;
};

}  // namespace

Result<std::shared_ptr<const Tokenizer>> load_tokenizer(const std::string& folder) {
  ASSIGN_OR_RETURN(const TokenizerFile file, read_tokenizer_file(folder));
  BraidTokenizer* handle = nullptr;
  BraidBytes out{};
  const int failed = braid_tokenizer_new(as_text(file.json), &handle, &out);
  const std::string message = take(out);
  if (failed) return invalid_argument(file.path + " is not a tokenizer: " + message);
  return std::shared_ptr<const Tokenizer>(std::make_shared<CoreTokenizer>(Handle(handle)));
}

}  // namespace braid::text
