// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>

#include "app/load.h"
#include "app/token_scorer.h"
#include "sample/logprobs.h"

namespace braid::app {
namespace {

constexpr int kBlock = 16;
constexpr int kRowsPerStep = 256;  // bounds the memory of logits

class LocalScorer final : public TokenScorer {
 public:
  LocalScorer(LoadedModel loaded, std::shared_ptr<const text::Tokenizer> tokenizer, int longest)
      : loaded_(std::move(loaded)), tokenizer_(std::move(tokenizer)), longest_(longest),
        blocks_(static_cast<std::size_t>((longest + kBlock - 1) / kBlock)),
        cache_(loaded_.model->cache_layout(), static_cast<std::int32_t>(blocks_.size()), kBlock) {
    std::iota(blocks_.begin(), blocks_.end(), 0);
  }

  Result<Tokens> tokens_of(const std::string& text) override { return tokenizer_->encode(text, true); }

  Result<std::vector<std::vector<double>>> score(const std::vector<Tokens>& sequences) override {
    std::vector<std::vector<double>> scores;
    for (const Tokens& tokens : sequences) {
      RETURN_IF_ERROR(check(tokens));
      std::vector<double>& logprobs = scores.emplace_back();
      const int inputs = static_cast<int>(tokens.size()) - 1;
      for (int first = 0; first < inputs; first += kRowsPerStep) {
        RETURN_IF_ERROR(step(tokens, first, std::min(kRowsPerStep, inputs - first), logprobs));
      }
    }
    return scores;
  }

 private:
  Status check(const Tokens& tokens) const {
    if (tokens.size() > static_cast<std::size_t>(longest_)) {
      return invalid_argument("a text has " + std::to_string(tokens.size()) + " tokens, more than --window " + std::to_string(longest_) + "; raise it", "window");
    }
    const int vocabulary = loaded_.model->config().vocab_size;
    const auto unknown = std::find_if(tokens.begin(), tokens.end(), [&](std::int32_t id) { return id < 0 || id >= vocabulary; });
    if (unknown == tokens.end()) return {};
    return invalid_argument("the tokenizer gives token " + std::to_string(*unknown) + ", the model has " + std::to_string(vocabulary) + "; name its own tokenizer", "tokenizer");
  }

  Status step(const Tokens& tokens, int first, int rows, std::vector<double>& logprobs) {
    batch_.clear();
    for (int position = first; position < first + rows; ++position) {
      batch_.token_ids.push_back(tokens[static_cast<std::size_t>(position)]);
      batch_.positions.push_back(position);
      batch_.slots.push_back(position);
      batch_.logit_rows.push_back(position - first);
    }
    batch_.prefill.push_back({0, rows, first, blocks_.data()});
    ASSIGN_OR_RETURN(const auto logits, loaded_.model->forward(batch_, cache_));
    for (int row = 0; row < rows; ++row) {
      const std::span<const float> values(logits.row(row), static_cast<std::size_t>(loaded_.model->config().vocab_size));
      logprobs.push_back(sample::logprobs_of(values, tokens[static_cast<std::size_t>(first + row + 1)], 0, scratch_).front().logprob);
    }
    return {};
  }

  LoadedModel loaded_;
  std::shared_ptr<const text::Tokenizer> tokenizer_;
  int longest_;
  std::vector<std::int32_t> blocks_;
  kv::Cache cache_;
  model::Batch batch_;
  sample::Scratch scratch_;
};

}  // namespace

Result<std::unique_ptr<TokenScorer>> local_scorer(const ModelSettings& settings, int longest) {
  ASSIGN_OR_RETURN(const model::Config config, model_config(settings.model));
  if (longest > config.max_positions) {
    return invalid_argument("--window " + std::to_string(longest) + " is beyond the model's " + std::to_string(config.max_positions) + " positions", "window");
  }
  ASSIGN_OR_RETURN(auto tokenizer, load_tokenizer(settings));
  if (!tokenizer) return invalid_argument("texts need a tokenizer; leave --skip-tokenizer-init out", "skip-tokenizer-init");
  model::Options options;
  options.max_model_len = longest;
  options.max_batched_tokens = std::min(longest, kRowsPerStep);
  options.max_sequences = 1;
  ASSIGN_OR_RETURN(LoadedModel loaded, load_model(settings, options, true));
  return std::unique_ptr<TokenScorer>(std::make_unique<LocalScorer>(std::move(loaded), std::move(tokenizer), longest));
}

}  // namespace braid::app
