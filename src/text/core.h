// SPDX-License-Identifier: Apache-2.0
// The C ABI of the Rust text core (core/src/ffi.rs). Calls that return int give 0 and their result
// in `out`, or 1 and an error message; `out` is freed with braid_bytes_free. Const handles may be
// used from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

extern "C" {
struct BraidBytes {
  std::uint8_t* data;
  std::size_t len;
};
struct BraidText {
  const char* data;
  std::size_t len;
};
struct BraidTokenizer;
struct BraidTemplate;
struct BraidGrammars;
struct BraidGrammar;

void braid_text_quiet();
void braid_bytes_free(BraidBytes bytes);
int braid_yaml_to_json(BraidText yaml, BraidBytes* out);

int braid_tokenizer_new(BraidText json, BraidTokenizer** handle, BraidBytes* out);
void braid_tokenizer_free(BraidTokenizer* handle);
int braid_tokenizer_encode(const BraidTokenizer* handle, BraidText text, bool add_special_tokens, BraidBytes* out);
int braid_tokenizer_decode(const BraidTokenizer* handle, const std::uint32_t* ids, std::size_t count,
                           bool skip_special_tokens, BraidBytes* out);
int braid_tokenizer_table(const BraidTokenizer* handle, BraidBytes* out);

int braid_template_new(BraidText source, BraidText variables, BraidTemplate** handle, BraidBytes* out);
void braid_template_free(BraidTemplate* handle);
bool braid_template_loops_over_content(const BraidTemplate* handle);
int braid_template_render(const BraidTemplate* handle, BraidText input, BraidBytes* out);

int braid_grammars_new(BraidText tokenizer_json, const std::uint32_t* eos, std::size_t eos_count,
                       std::size_t vocabulary, BraidGrammars** handle, BraidBytes* out);
void braid_grammars_free(BraidGrammars* handle);
int braid_grammar_compile(const BraidGrammars* compiler, int kind, BraidText text, BraidGrammar** handle, BraidBytes* out);
void braid_grammar_free(BraidGrammar* handle);
int braid_grammar_clone(const BraidGrammar* state, BraidGrammar** handle, BraidBytes* out);
int braid_grammar_mask(BraidGrammar* state, std::uint32_t* mask, std::size_t words);
// The mask of the next token, and those behind each of `drafts` that may come; says how many masks it wrote.
std::size_t braid_grammar_look_ahead(BraidGrammar* state, const std::uint32_t* drafts, std::size_t count, std::uint32_t* masks, std::size_t words);
// The tokens that must come next, at most `most` of them; says how many.
std::size_t braid_grammar_forced(BraidGrammar* state, std::uint32_t* tokens, std::size_t most);
bool braid_grammar_accept(BraidGrammar* state, std::uint32_t token);
bool braid_grammar_finished(const BraidGrammar* state);
}

namespace braid::text {

inline BraidText as_text(std::string_view s) { return {s.data(), s.size()}; }

// Copies and frees.
inline std::string take(BraidBytes bytes) {
  std::string copy(reinterpret_cast<const char*>(bytes.data), bytes.len);
  braid_bytes_free(bytes);
  return copy;
}

}  // namespace braid::text
