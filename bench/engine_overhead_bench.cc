// SPDX-License-Identifier: Apache-2.0
// What a step costs outside the model: the loop with a model that does next to nothing.
// Prints one line a case: microseconds per step and per token.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "engine/loop.h"

namespace braid::engine {
namespace {

constexpr std::int32_t kVocabulary = 4096;

// Rows of logits that are there already, so that only the engine's own work is measured.
class IdleModel final : public model::Model {
 public:
  IdleModel() : logits_(static_cast<std::size_t>(kVocabulary) * 256) {
    std::uint32_t state = 1;
    for (float& x : logits_) {
      state = state * 1664525u + 1013904223u;
      x = static_cast<float>(state >> 8) * 0x1p-21f - 4.0f;
    }
  }
  const model::Config& config() const override { return config_; }
  kv::Layout cache_layout() const override { return {1, 1, DType::kF32}; }
  std::size_t weight_bytes() const override { return 0; }
  const std::vector<ChosenKernel>& chosen_kernels() const override { return kernels_; }
  Matrix<const float> forward(const model::Batch& batch, kv::Cache&, const model::Trace*) override {
    return {logits_.data(), static_cast<std::int64_t>(batch.logit_rows.size()), kVocabulary};
  }

 private:
  std::vector<float> logits_;
  model::Config config_;
  std::vector<ChosenKernel> kernels_;
};

class Sink final : public Subscriber {
 public:
  void on_tokens(std::vector<TokenMessage>&& messages) override { received += messages.size(); }
  std::size_t received = 0;
};

struct Case {
  const char* name;
  protocol::SamplingParams params;
};

void measure(const Case& c, int batch) {
  constexpr double kSeconds = 0.25;
  constexpr int kMostSteps = 4000;
  IdleModel model;
  Metrics metrics;
  SteadyClock clock;
  prefix::BlockHasher hasher(prefix::Algorithm::kSha256Cbor, "0");
  kv::Cache cache(model.cache_layout(), batch * 300 + 16, 16);
  Admission admission({.max_model_len = 4700,
                       .max_batched_tokens = 8192,
                       .max_waiting = 1000,
                       .max_logprobs = 20,
                       .block_size = 16},
                      Vocabulary{kVocabulary, {}, nullptr, {}},
                      &hasher,
                      &metrics,
                      &clock);
  Loop loop({&model, &cache, &admission, &metrics, &clock, {8192, 256}});
  for (int i = 0; i < batch; ++i) {
    SubmitMessage message;
    message.prompt.assign(32, i);
    message.params = c.params;
    message.params.max_tokens = 4600;
    message.subscriber = std::make_shared<Sink>();
    auto request = admission.admit(std::move(message));
    if (!request.ok() || !admission.start_waiting().ok()) std::abort();
    loop.receive(std::move(request).value());
  }
  for (int i = 0; i < 50; ++i) loop.step();
  const auto start = std::chrono::steady_clock::now();
  int steps = 0;
  double seconds = 0;
  while (steps < kMostSteps && seconds < kSeconds) {
    for (int i = 0; i < 50; ++i, ++steps) loop.step();
    seconds = to_seconds(std::chrono::steady_clock::now() - start);
  }
  std::printf("%-28s batch %3d  %8.2f us/step  %6.2f us/token\n",
              c.name,
              batch,
              seconds / steps * 1e6,
              seconds / steps / batch * 1e6);
  std::fflush(stdout);
}

int run() {
  const auto with = [](auto change) {
    protocol::SamplingParams params;
    change(params);
    return params;
  };
  const Case cases[] = {
      {"greedy", with([](auto& p) { p.temperature = 0; })},
      {"temperature 1", with([](auto&) {})},
      {"top_p 0.95", with([](auto& p) { p.top_p = 0.95f; })},
      {"top_k 50, top_p 0.95", with([](auto& p) { p.top_k = 50, p.top_p = 0.95f; })},
      {"greedy, 5 logprobs", with([](auto& p) { p.temperature = 0, p.logprobs = 5; })},
      {"greedy, frequency penalty", with([](auto& p) { p.temperature = 0, p.frequency_penalty = 0.1f; })},
  };
  for (const Case& c : cases) {
    for (const int batch : {1, 8, 64}) measure(c, batch);
  }
  return 0;
}

}  // namespace
}  // namespace braid::engine

int main() { return braid::engine::run(); }
