// SPDX-License-Identifier: Apache-2.0
// Structured output: which tokens may come next so that the output matches a JSON schema, regex,
// choice or grammar.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"

namespace braid::text {

enum class GrammarKind { kJsonSchema, kJsonObject, kRegex, kChoice, kGrammar };

// The state of one choice. Thread rules: one thread at a time; may move between threads.
class GrammarMatcher {
 public:
  virtual ~GrammarMatcher() = default;
  // False: any token may come next, and there is no need for a mask.
  virtual bool restricts() const { return true; }
  // Sets bit t of mask (little-endian words, (vocabulary + 31) / 32 of them) for each allowed t.
  virtual void fill_mask(std::span<std::uint32_t> mask) = 0;
  // Advances; false when the token was not allowed (the state is then unchanged).
  virtual bool accept(std::int32_t token) = 0;
  // The output is complete and nothing but an end token may follow.
  virtual bool finished() const = 0;
  virtual std::unique_ptr<GrammarMatcher> clone() const = 0;
  // Appends the mask of `words` words for the next token, then those behind each of `drafts` that may
  // come, up to the end of the output. The state stays what it is.
  virtual void look_ahead(std::span<const std::int32_t> drafts, std::size_t words, std::vector<std::uint32_t>& masks);
  // Tokens of which each is the only one that may come after those before it; perhaps not all of them.
  virtual std::vector<std::int32_t> forced() { return {}; }
};

// Thread safety: compile may be called from any thread at once.
class GrammarCompiler {
 public:
  virtual ~GrammarCompiler() = default;
  // `text`: schema, regex or Lark grammar; kChoice: a JSON array of strings. An error says why the
  // grammar is not accepted.
  virtual Result<std::unique_ptr<GrammarMatcher>> compile(GrammarKind kind, const std::string& text) const = 0;
};

// `vocabulary` = rows of the logits (padding ids beyond the tokenizer's are never allowed).
Result<std::shared_ptr<const GrammarCompiler>> make_grammar_compiler(
    const std::string& tokenizer_folder, std::vector<std::int32_t> eos_ids, std::int32_t vocabulary);

}  // namespace braid::text
