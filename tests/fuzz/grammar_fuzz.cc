// SPDX-License-Identifier: Apache-2.0
// Any bytes as a schema, expression, choice or grammar: an error, or a matcher that always allows a
// token and takes what it allows.
#include <cstdlib>
#include <string>
#include <vector>

#include "text/grammar.h"

using braid::text::GrammarKind;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::int32_t kVocabulary = 4096;
  static const auto compiler =
      *braid::text::make_grammar_compiler(std::string(BRAID_SOURCE_DIR) + "/models/lexicon-30m", {1}, kVocabulary);
  if (size == 0) return 0;
  const auto kind = static_cast<GrammarKind>(data[0] % 5);
  const auto matcher = compiler->compile(kind, std::string(reinterpret_cast<const char*>(data) + 1, size - 1));
  if (!matcher.ok()) return 0;
  std::vector<std::uint32_t> mask(kVocabulary / 32);
  for (int step = 0; step < 8 && !(*matcher)->finished(); ++step) {
    (*matcher)->fill_mask(mask);
    std::int32_t token = 0;
    while (token < kVocabulary && !(mask[static_cast<std::size_t>(token) / 32] >> (token % 32) & 1)) ++token;
    if (token == kVocabulary) std::abort();
    if (!(*matcher)->accept(token)) return 0;  // an end token that the mask gives for want of another
  }
  return 0;
}
