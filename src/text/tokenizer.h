// SPDX-License-Identifier: Apache-2.0
// Any Hugging Face tokenizer.json, and tiktoken.model of Kimi: text to token ids and back.
// Thread safety: const methods may be called from any thread at once.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace braid::text {

// How tokens become text: by their bytes alone, the same without the very first space
// (SentencePiece), or only as a whole sequence.
enum class Decoding { kBytes, kBytesWithoutFirstSpace, kWhole };

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual std::vector<std::int32_t> encode(std::string_view text, bool add_special_tokens) const = 0;
  virtual std::string decode(std::span<const std::int32_t> ids, bool skip_special_tokens) const = 0;

  virtual std::int32_t vocabulary_size() const = 0;  // highest id + 1, added tokens included
  virtual std::optional<std::int32_t> id_of(std::string_view token) const = 0;
  // The token as the vocabulary writes it ("Ġthe"), and the bytes it stands for (" the").
  virtual std::string token(std::int32_t id) const = 0;
  virtual const std::string& bytes(std::int32_t id) const = 0;
  virtual bool is_special(std::int32_t id) const = 0;
  virtual Decoding decoding() const = 0;
};

// Reads what text/tokenizer_file.h finds in `folder`, which may also be the file tokenizer.json itself.
Result<std::shared_ptr<const Tokenizer>> load_tokenizer(const std::string& folder);

}  // namespace braid::text
