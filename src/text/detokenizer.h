// SPDX-License-Identifier: Apache-2.0
// Turns one choice's tokens into text as they come: emits whole UTF-8 only, never holds back a
// character that is complete, and gives the same text whatever the chunking. Bytes that can never
// become valid UTF-8 come out as U+FFFD. Thread rules: one thread.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace braid::text {

class Detokenizer {
 public:
  Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens);

  // The text that became certain with these tokens.
  std::string append(std::span<const std::int32_t> tokens);
  // What is left at the end of the sequence (an unfinished character as U+FFFD).
  std::string finish();

 private:
  std::string append_whole(std::span<const std::int32_t> tokens);

  std::shared_ptr<const Tokenizer> tokenizer_;
  bool skip_special_tokens_;
  bool at_start_ = true;
  std::string pending_;                // bytes of an unfinished character
  std::vector<std::int32_t> window_;   // Decoding::kWhole: recent tokens,
  std::string window_text_;            // and the part of their text that was emitted
};

}  // namespace braid::text
