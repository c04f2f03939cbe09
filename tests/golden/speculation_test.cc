// SPDX-License-Identifier: Apache-2.0
// The default model behind the whole engine, with and without speculation and jumping ahead in grammars: the
// same answers.
#include <gtest/gtest.h>

#include "backend/cpu/backend.h"
#include "engine/engine.h"
#include "engine/testing/listener.h"
#include "text/grammar.h"
#include "text/tokenizer_file.h"
#include "weights/checkpoint.h"

namespace braid {
namespace {

// Prompts of the chat template: "<begin><User>What is a ...?<Assistant>".
const std::vector<std::vector<std::int32_t>> kPrompts = {
    {0, 3, 336, 322, 261, 2315, 35, 4}, {0, 3, 336, 322, 261, 1814, 1752, 35, 4}, {0, 3, 336, 322, 261, 812, 35, 4}};

const char* const kFolder = BRAID_SOURCE_DIR "/models/lexicon-30m";
constexpr std::int32_t kVocabulary = 4096;

// A grammar that never says which tokens must come, so that nobody jumps ahead.
class StepByStep final : public text::GrammarMatcher {
 public:
  explicit StepByStep(std::unique_ptr<text::GrammarMatcher> inner) : inner_(std::move(inner)) {}
  void fill_mask(std::span<std::uint32_t> mask) override { inner_->fill_mask(mask); }
  bool accept(std::int32_t token) override { return inner_->accept(token); }
  bool finished() const override { return inner_->finished(); }
  std::unique_ptr<GrammarMatcher> clone() const override { return std::make_unique<StepByStep>(inner_->clone()); }
  void look_ahead(std::span<const std::int32_t> drafts, std::size_t words, std::vector<std::uint32_t>& masks) override {
    inner_->look_ahead(drafts, words, masks);
  }

 private:
  std::unique_ptr<text::GrammarMatcher> inner_;
};

class StepByStepCompiler final : public text::GrammarCompiler {
 public:
  explicit StepByStepCompiler(std::shared_ptr<const text::GrammarCompiler> inner) : inner_(std::move(inner)) {}
  Result<std::unique_ptr<text::GrammarMatcher>> compile(text::GrammarKind kind, const std::string& text) const override {
    ASSIGN_OR_RETURN(auto matcher, inner_->compile(kind, text));
    return std::unique_ptr<text::GrammarMatcher>(std::make_unique<StepByStep>(std::move(matcher)));
  }

 private:
  std::shared_ptr<const text::GrammarCompiler> inner_;
};

// Keys that must come, choices, numbers and free text.
const char* const kSchema = R"({"type": "object", "additionalProperties": false, "required": ["name_of_the_thing", "kind", "sizes", "inner"], "properties": {
  "name_of_the_thing": {"type": "string", "maxLength": 30}, "kind": {"enum": ["a natural thing", "a natural place", "something else"]},
  "sizes": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 999}, "minItems": 1, "maxItems": 3},
  "inner": {"type": "object", "additionalProperties": false, "required": ["is_it_true"], "properties": {"is_it_true": {"type": "boolean"}}}}})";

std::shared_ptr<const text::GrammarCompiler> compiler() { return text::make_grammar_compiler(kFolder, {1}, kVocabulary).value(); }

struct Answers {
  std::vector<std::vector<std::int32_t>> tokens;
  double drafts = 0, accepted = 0, first_accepted = 0;
};

// With `grammars`: documents of kSchema.
Answers answers(const engine::SpeculativeSettings& speculation, std::shared_ptr<const text::GrammarCompiler> grammars = nullptr) {
  const auto stream = cpu::make_stream({});
  engine::Settings settings;
  settings.speculation = speculation;
  settings.scheduler.max_model_len = 256;
  settings.scheduler.max_num_seqs = 8;
  settings.cache.num_blocks_override = 200;
  model::Options options;
  options.max_model_len = 256;
  options.max_batched_tokens = settings.scheduler.max_num_batched_tokens;
  options.max_sequences = 8 * (1 + speculation.tokens());
  options.draft_module = speculation.uses_draft_module();
  const auto checkpoint = weights::open_checkpoint(kFolder);
  auto model = model::build(**checkpoint, options, {&cpu::kernels(), stream.get(), {}});
  EXPECT_TRUE(model.ok()) << model.error().message;
  engine::Metrics metrics;
  const SteadyClock clock;
  const auto listener = std::make_shared<engine::testing::Listener>();
  const auto engine = engine::start(std::move(model).value(), engine::Vocabulary{kVocabulary, {1}, grammars, {}, text::load_tokenizer(kFolder).value()}, settings, metrics, clock).value();
  std::vector<engine::RequestId> ids;
  for (const bool sampled : {false, true}) {
    for (const auto& prompt : kPrompts) {
      engine::SubmitMessage message;
      message.prompt = prompt;
      message.params.temperature = sampled ? 1.2f : 0.0f;
      message.params.seed = 7;
      message.params.max_tokens = grammars ? 150 : 60;
      if (grammars) message.params.structured = {protocol::StructuredOutput::Kind::kJsonSchema, kSchema};
      message.params.repetition_penalty = sampled ? 1.1f : 1.0f;
      message.subscriber = listener;
      ids.push_back(engine->submit(engine->admit(std::move(message)).value()).value());
    }
  }
  EXPECT_TRUE(listener->wait_for(ids.size()));
  Answers result;
  const auto heard = listener->answers();
  for (const auto id : ids) result.tokens.push_back(heard.at(id).tokens);
  result.drafts = metrics.spec_decode_drafts.value();
  result.accepted = metrics.spec_decode_accepted_tokens.value();
  result.first_accepted = metrics.spec_decode_accepted_by_position.with({"0"}).value();
  return result;
}

TEST(Speculation, AnswersAreTheSameWithItAndWithout) {
  const auto expected = answers({}).tokens;
  for (const auto& tokens : expected) EXPECT_GT(tokens.size(), 5u);
  engine::SpeculativeSettings speculation;
  speculation.disable_by_batch_size = 100;
  for (const int drafts : {1, 3}) {
    speculation.method = "mtp";
    speculation.num_speculative_tokens = drafts;
    const Answers mtp = answers(speculation);
    EXPECT_EQ(mtp.tokens, expected) << drafts;
    EXPECT_GT(mtp.first_accepted, 0.8 * mtp.drafts) << "the module was trained on such answers";
    speculation.method = "ngram";
    speculation.prompt_lookup_min = 1;
    EXPECT_EQ(answers(speculation).tokens, expected) << drafts;
  }
}

TEST(Speculation, TheEngineChoosesHowMuchByItself) {
  engine::SpeculativeSettings speculation;
  speculation.method = "mtp";
  speculation.num_speculative_tokens = 2;
  EXPECT_EQ(answers(speculation).tokens, answers({}).tokens);
}

TEST(Speculation, DocumentsAreTheSameHoweverManyTokensAStepGives) {
  const auto grammars = compiler();
  const Answers jumping = answers({}, grammars);
  const auto expected = answers({}, std::make_shared<StepByStepCompiler>(grammars)).tokens;
  EXPECT_EQ(jumping.tokens, expected);
  for (const auto& tokens : expected) {
    const auto matcher = grammars->compile(text::GrammarKind::kJsonSchema, kSchema).value();
    for (const std::int32_t token : tokens) {
      if (token != 1) ASSERT_TRUE(matcher->accept(token)) << token;
    }
    EXPECT_GT(tokens.size(), 20u);
  }
  engine::SpeculativeSettings speculation;
  speculation.disable_by_batch_size = 100;
  for (const int drafts : {1, 3}) {
    speculation.method = "mtp";
    speculation.num_speculative_tokens = drafts;
    EXPECT_EQ(answers(speculation, grammars).tokens, expected) << drafts;
    const Answers mtp = answers(speculation, std::make_shared<StepByStepCompiler>(grammars));
    EXPECT_EQ(mtp.tokens, expected) << drafts;
    EXPECT_GT(mtp.drafts, 0);
    speculation.method = "ngram";
    speculation.prompt_lookup_min = 1;
    EXPECT_EQ(answers(speculation, grammars).tokens, expected) << drafts;
  }
}

}  // namespace
}  // namespace braid
