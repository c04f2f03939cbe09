// SPDX-License-Identifier: Apache-2.0
#include "serve/testing/babbling_fixture.h"

namespace braid::serve::testing {

void BabblingFixture::start(const Settings& settings, const std::string& chat_template) {
  static const std::string kFolder = BRAID_SOURCE_DIR "/models/lexicon-30m";
  static const auto tokenizer = *text::load_tokenizer(kFolder);
  static const auto grammars = *text::make_grammar_compiler(kFolder, {1}, 4096);
  ServerFixture::start({.model = {.vocabulary = 4096, .before_step = before_step_},
                        .vocabulary = {.size = 4096, .eos_ids = {1}, .grammars = grammars, .encode_bad_word = {}, .tokenizer = tokenizer},
                        .tokenizer = tokenizer,
                        .chat_template = *text::compile_template(chat_template),
                        .max_model_len = 600,
                        .settings = settings});
}

}  // namespace braid::serve::testing
