// SPDX-License-Identifier: Apache-2.0
#include "app/bench_speculation.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "engine/loop.h"
#include "engine/speculation/costs.h"
#include "engine/speculation/make.h"

namespace braid::app {
namespace {

constexpr int kBlock = 16;
constexpr const char* kQuestions[] = {
    "What is a river?",       "What is a KV cache?",     "What is expert parallelism?", "What is a telescope?",
    "What is a mountain?",    "what is a bridge",        "Define dog.",                 "Define the word honest.",
    "What does gallop mean?", "Meaning of winter",       "What is the meaning of freedom?",
    "What is a mixture of experts?", "Describe continuous batching.", "What is speculative decoding?",
    "Explain dual batch overlap.",   "What is a tokenizer?"};

using Chats = std::vector<std::vector<std::int32_t>>;

Result<Chats> make_chats(const LoadedText& text) {
  if (!text.tokenizer || !text.chat_template) {
    return invalid_argument("measuring speculative decoding needs a tokenizer and a chat template", "model");
  }
  Chats chats;
  for (const char* question : kQuestions) {
    text::RenderInput input;
    input.messages = nlohmann::json::array({{{"role", "user"}, {"content", question}}}).dump();
    ASSIGN_OR_RETURN(const std::string prompt, text.chat_template->render(input));
    chats.push_back(text.tokenizer->encode(prompt, false));
  }
  return chats;
}

class Silent final : public engine::Subscriber {
 public:
  void on_tokens(std::vector<engine::TokenMessage>&&) override {}
};

// One way to decode, with an engine of its own over the shared model and cache.
class Contender {
 public:
  // `drafts` -1: as many as the engine chooses.
  static Result<std::unique_ptr<Contender>> make(const LoadedModel& loaded, const LoadedText& text, kv::Cache& cache,
                                                 engine::Settings settings, int drafts) {
    auto contender = std::unique_ptr<Contender>(new Contender(text, cache, drafts));
    if (drafts > 0) {
      settings.speculation.num_speculative_tokens = drafts;
      settings.speculation.disable_by_batch_size = settings.scheduler.max_num_seqs;
    }
    if (drafts != 0) {
      ASSIGN_OR_RETURN(contender->speculation_,
                       engine::make_speculation(settings, {loaded.model.get(), &cache, kChatTokens, &contender->metrics_,
                                                           &contender->clock_}));
    }
    engine::SchedulerLimits limits;
    limits.max_batched_tokens = settings.scheduler.max_num_batched_tokens;
    limits.max_sequences = settings.scheduler.max_num_seqs;
    limits.max_drafts = settings.speculation.tokens();
    limits.prefix_caching = false;
    contender->loop_.emplace(engine::Loop::Parts{
        loaded.model.get(), &cache, &contender->admission_, &contender->metrics_, &contender->clock_, limits,
        contender->speculation_.get(), [contender = contender.get()](const engine::StepPlan& plan) { contender->look(plan); }});
    return contender;
  }

  // Answers `batch` chats at once; the rate of the steps in which all of them decoded.
  Status round(const Chats& chats, int batch, std::size_t first) {
    batch_ = static_cast<std::size_t>(batch);
    for (std::size_t i = 0; i < batch_; ++i) {
      engine::SubmitMessage message;
      message.prompt = chats[(first + i) % chats.size()];
      message.params.temperature = 0;
      message.params.max_tokens = kChatTokens - static_cast<int>(message.prompt.size());
      message.subscriber = subscriber_;
      ASSIGN_OR_RETURN(auto request, admission_.admit(std::move(message)));
      RETURN_IF_ERROR(admission_.start_waiting());
      loop_->receive(std::move(request));
    }
    double seconds = 0, tokens = 0;
    while (!loop_->idle()) {
      const double before = metrics_.generation_tokens.value();
      const TimePoint begin = clock_.now();
      loop_->step();
      if (!full_) continue;
      seconds += to_seconds(clock_.now() - begin);
      tokens += metrics_.generation_tokens.value() - before;
      steps_ += 1;
    }
    if (!loop_->healthy()) return internal_error(loop_->stats().failure);
    tokens_ += tokens;
    if (seconds > 0) rates_.push_back(tokens / seconds);
    return {};
  }

  double rate() {
    if (rates_.empty()) return 0;
    std::nth_element(rates_.begin(), rates_.begin() + static_cast<std::ptrdiff_t>(rates_.size() / 2), rates_.end());
    return rates_[rates_.size() / 2];
  }
  double tokens_per_step() const { return steps_ > 0 ? tokens_ / steps_ / static_cast<double>(batch_) : 0; }
  std::string name() const { return drafts_ < 0 ? "chosen" : std::to_string(drafts_); }

 private:
  Contender(const LoadedText& text, const kv::Cache& cache, int drafts)
      : drafts_(drafts),
        admission_({.max_model_len = kChatTokens, .max_batched_tokens = kChatTokens, .max_waiting = 1 << 20,
                    .paging = cache.block_size()},
                   text.vocabulary, &hasher_, &metrics_, &clock_) {}

  void look(const engine::StepPlan& plan) {
    full_ = plan.work.size() == batch_ && std::all_of(plan.work.begin(), plan.work.end(), [](const auto& work) {
              return work.first >= work.sequence->prompt_length;
            });
  }

  int drafts_;
  engine::Metrics metrics_;
  SteadyClock clock_;
  prefix::BlockHasher hasher_{prefix::Algorithm::kXxhashCbor, "0"};
  engine::Admission admission_;
  std::unique_ptr<engine::Speculation> speculation_;
  std::optional<engine::Loop> loop_;
  std::shared_ptr<Silent> subscriber_ = std::make_shared<Silent>();
  std::size_t batch_ = 0;
  bool full_ = false;
  std::vector<double> rates_;
  double tokens_ = 0, steps_ = 0;
};

Status bench_batch(const LoadedModel& loaded, const LoadedText& text, const engine::Settings& settings, int batch,
                   double seconds) {
  ASSIGN_OR_RETURN(const Chats chats, make_chats(text));
  kv::Cache cache(loaded.model->cache_layout(), batch * kChatTokens / kBlock, kBlock);
  std::vector<std::unique_ptr<Contender>> contenders;
  for (int drafts = -1; drafts <= settings.speculation.tokens(); ++drafts) {
    ASSIGN_OR_RETURN(auto contender, Contender::make(loaded, text, cache, settings, drafts));
    contenders.push_back(std::move(contender));
  }
  std::rotate(contenders.begin(), contenders.begin() + 1, contenders.end());
  const SteadyClock clock;
  const TimePoint begin = clock.now();
  const double all = seconds * static_cast<double>(contenders.size());
  for (std::size_t first = 0; to_seconds(clock.now() - begin) < all; ++first) {
    for (auto& contender : contenders) RETURN_IF_ERROR(contender->round(chats, batch, first));
  }
  const double plain = contenders.front()->rate();
  for (auto& contender : contenders) {
    std::printf("%6d %8s %12.0f %8.2fx %12.2f\n", batch, contender->name().c_str(), contender->rate(),
                contender->rate() / plain, contender->tokens_per_step());
  }
  return {};
}

// What the parts of a step take: the pass that verifies, and one of the drafter's module.
Status print_parts(const LoadedModel& loaded, int drafts, double seconds) {
  kv::Cache cache(loaded.model->cache_layout(), kChatTokens / kBlock, kBlock);
  const SteadyClock clock;
  const auto time = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
  ASSIGN_OR_RETURN(const engine::Costs costs,
                   engine::measure_costs(*loaded.model, cache, {.rows = drafts + 1, .context = kChatTokens / 2, .time = time}, clock));
  std::printf("%6s %12s %12s\n", "rows", "verify us", "draft us");
  for (int rows = 1; rows <= drafts + 1; ++rows) std::printf("%6d %12.0f %12.0f\n", rows, 1e6 * costs.forward.at(rows), 1e6 * costs.draft.at(rows));
  return {};
}

}  // namespace

Status bench_speculation(const LoadedModel& loaded, const ModelSettings& model,
                         const engine::SpeculativeSettings& speculation, const std::vector<int>& batches, double seconds) {
  ASSIGN_OR_RETURN(const LoadedText text, load_text(model, loaded.model->config()));
  RETURN_IF_ERROR(print_parts(loaded, speculation.tokens(), seconds));
  std::printf("speculation by %s, answers to chats\n%6s %8s %12s %9s %12s\n", speculation.method->c_str(), "batch", "drafts",
              "tokens/s", "", "tokens/step");
  for (const int batch : batches) {
    engine::Settings settings;
    settings.speculation = speculation;
    settings.scheduler.max_num_seqs = batch;
    settings.scheduler.max_num_batched_tokens = std::max(kChatTokens, batch * (1 + speculation.tokens()));
    RETURN_IF_ERROR(bench_batch(loaded, text, settings, batch, seconds));
  }
  return {};
}

}  // namespace braid::app
