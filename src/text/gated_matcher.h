// SPDX-License-Identifier: Apache-2.0
// Matchers that let a grammar rule over a part of the output only: the answer behind the reasoning, or
// what follows a marker. What lies outside is free. Thread rules: those of GrammarMatcher.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "text/grammar.h"
#include "text/tokenizer.h"

namespace braid::text {

// Reasoning in front of an answer. It ends where the text `close` does.
struct ReasoningGate {
  std::string open;           // begins it, where the prompt has not
  std::string close;          // ends it
  bool open_in_prompt = true; // false: the output begins with `open`, or is the answer at once
  std::optional<int> budget;  // after so many tokens of reasoning `close` is forced
};

// `answer` may be null: then the answer is free, too.
std::unique_ptr<GrammarMatcher> after_reasoning(ReasoningGate gate,
                                                std::shared_ptr<const Tokenizer> tokenizer,
                                                std::unique_ptr<GrammarMatcher> answer);

// Free text in which `section` rules from each occurrence of `trigger` on, until it is complete.
std::unique_ptr<GrammarMatcher> after_each(std::string trigger,
                                           std::shared_ptr<const Tokenizer> tokenizer,
                                           std::unique_ptr<GrammarMatcher> section);

}  // namespace braid::text
