// SPDX-License-Identifier: Apache-2.0
// The default model behind the whole engine, with and without speculation: the same answers.
#include <gtest/gtest.h>

#include "backend/cpu/backend.h"
#include "engine/engine.h"
#include "engine/testing/listener.h"
#include "weights/checkpoint.h"

namespace braid {
namespace {

// Prompts of the chat template: "<begin><User>What is a ...?<Assistant>".
const std::vector<std::vector<std::int32_t>> kPrompts = {
    {0, 3, 336, 322, 261, 2315, 35, 4}, {0, 3, 336, 322, 261, 1814, 1752, 35, 4}, {0, 3, 336, 322, 261, 812, 35, 4}};

struct Answers {
  std::vector<std::vector<std::int32_t>> tokens;
  double drafts = 0, accepted = 0, first_accepted = 0;
};

Answers answers(const engine::SpeculativeSettings& speculation) {
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
  const auto checkpoint = weights::open_checkpoint(BRAID_SOURCE_DIR "/models/lexicon-30m");
  auto model = model::build(**checkpoint, options, {&cpu::kernels(), stream.get(), {}});
  EXPECT_TRUE(model.ok()) << model.error().message;
  engine::Metrics metrics;
  const SteadyClock clock;
  const auto listener = std::make_shared<engine::testing::Listener>();
  const auto engine = engine::start(std::move(model).value(), engine::Vocabulary{4096, {1}, nullptr, {}, nullptr}, settings, metrics, clock).value();
  std::vector<engine::RequestId> ids;
  for (const bool sampled : {false, true}) {
    for (const auto& prompt : kPrompts) {
      engine::SubmitMessage message;
      message.prompt = prompt;
      message.params.temperature = sampled ? 1.2f : 0.0f;
      message.params.seed = 7;
      message.params.max_tokens = 60;
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

}  // namespace
}  // namespace braid
