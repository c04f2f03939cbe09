// SPDX-License-Identifier: Apache-2.0
// How likely a model finds the tokens of a text: a model behind a server, or one that this process
// loads. Thread rules: one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "app/settings.h"
#include "base/result.h"

namespace braid::app {

using Tokens = std::vector<std::int32_t>;

class TokenScorer {
 public:
  virtual ~TokenScorer() = default;
  // As a prompt's, with the special tokens that the tokenizer puts around a text.
  virtual Result<Tokens> tokens_of(const std::string& text) = 0;
  // For each sequence the natural logarithms of the probabilities of its tokens from the second on.
  virtual Result<std::vector<std::vector<double>>> score(const std::vector<Tokens>& sequences) = 0;
};

// A server of OpenAI's API that has /tokenize and prompt_logprobs. An empty `model`: the server's.
struct ServedModel {
  std::string url;
  std::string model;
  std::string api_key;
};
Result<std::unique_ptr<TokenScorer>> served_scorer(ServedModel served);

// Loads the model folder, all experts in one rank. Takes sequences of up to `longest` tokens.
Result<std::unique_ptr<TokenScorer>> local_scorer(const ModelSettings& settings, int longest);

}  // namespace braid::app
