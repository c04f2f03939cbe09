// SPDX-License-Identifier: Apache-2.0
// Any bytes as text and as token ids of the default model: in any chunks the incremental decoder
// gives what decoding at once gives, and valid text comes back as it was.
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "text/detokenizer.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

using braid::text::Detokenizer;

namespace {

void check(bool holds) {
  if (!holds) std::abort();
}

std::string in_chunks(const std::shared_ptr<const braid::text::Tokenizer>& tokenizer, std::span<const std::int32_t> ids,
                      std::size_t chunk, bool skip_special) {
  Detokenizer detokenizer(tokenizer, skip_special);
  std::string all;
  for (std::size_t at = 0; at < ids.size(); at += chunk) {
    const std::string piece = detokenizer.append(ids.subspan(at, std::min(chunk, ids.size() - at)));
    std::string valid;
    check(braid::text::decode_utf8(piece, valid) == piece.size() && valid == piece);
    all += piece;
  }
  return all + detokenizer.finish();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto tokenizer = *braid::text::load_tokenizer(std::string(BRAID_SOURCE_DIR) + "/models/lexicon-30m");
  if (size == 0) return 0;
  const std::size_t chunk = 1 + data[0] % 5;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::string valid;
  const bool whole = braid::text::decode_utf8(text, valid) == text.size() && valid == text;
  const auto encoded = tokenizer->encode(text, false);
  const std::string decoded = tokenizer->decode(encoded, false);
  check(!whole || decoded == text);
  check(in_chunks(tokenizer, encoded, chunk, false) == decoded);
  std::vector<std::int32_t> ids;
  for (std::size_t at = 0; at + 2 <= text.size(); at += 2) {
    std::int16_t id;
    std::memcpy(&id, text.data() + at, 2);
    ids.push_back(id % 5000);
  }
  for (const bool skip_special : {false, true}) {
    check(in_chunks(tokenizer, ids, chunk, skip_special) == tokenizer->decode(ids, skip_special));
  }
  return 0;
}
