// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "app/commands.h"
#include "app/load.h"
#include "app/parse.h"
#include "backend/cuda/backend.h"
#include "base/clock.h"
#include "config/reference.h"
#include "engine/cache_size.h"
#include "kv/cache.h"

namespace braid::app {
namespace {

constexpr int kPromptTokens = 8;
constexpr int kNewTokens = 24;
constexpr int kBlock = 16;
constexpr std::int32_t kTable[] = {0, 1};
static_assert(kPromptTokens + kNewTokens <= 2 * kBlock);

using Ids = std::vector<std::int32_t>;

// The likeliest token after one more forward() of ids [first, end).
Result<std::int32_t> next_token(model::Model& model, kv::Cache& cache, const Ids& ids, int first) {
  const int count = static_cast<int>(ids.size()) - first;
  model::Batch batch;
  for (int p = first; p < first + count; ++p) {
    batch.token_ids.push_back(ids[static_cast<std::size_t>(p)]);
    batch.positions.push_back(p);
    batch.slots.push_back(p);
  }
  if (first == 0) batch.prefill.push_back({0, count, 0, kTable});
  else batch.decode.push_back({first, kTable});
  batch.logit_rows.push_back(count - 1);
  ASSIGN_OR_RETURN(const auto logits, model.forward(batch, cache));
  const float* row = logits.row(0);
  const float* end = row + model.config().vocab_size;
  if (!std::all_of(row, end, [](float x) { return std::isfinite(x); })) {
    return internal_error("self-test: the model's logits are not finite numbers");
  }
  return static_cast<std::int32_t>(std::max_element(row, end) - row);
}

// Generates greedily and prints what came out.
Status self_test(model::Model& model, const text::Tokenizer* tokenizer) {
  Ids ids = tokenizer ? tokenizer->encode("Once upon a time", true) : Ids{1, 2, 3, 4};
  ids.resize(std::min<std::size_t>(ids.size(), kPromptTokens));
  if (ids.empty()) return internal_error("self-test: the tokenizer made no tokens of a sentence");
  const std::size_t prompt = ids.size();
  kv::Cache cache(model.cache_layout(), 2, kBlock);
  const SteadyClock clock;
  const TimePoint begin = clock.now();
  for (int i = 0, done = 0; i < kNewTokens; ++i) {
    ASSIGN_OR_RETURN(const std::int32_t next, next_token(model, cache, ids, done));
    done = static_cast<int>(ids.size());
    ids.push_back(next);
  }
  std::printf("self-test: %zu prompt and %d new tokens in %.1f ms\n", prompt, kNewTokens, 1e3 * to_seconds(clock.now() - begin));
  if (tokenizer) std::printf("  %s\n", tokenizer->decode(ids, true).c_str());
  return {};
}

void print_bandwidths(Stream& stream) {
  const auto peaks = cuda::measure_peaks(stream);
  const auto links = cuda::measure_links(stream);
  std::printf("memory %.0f GB/s (read and written), host to GPU %.1f GB/s, GPU to host %.1f GB/s\n", peaks.bandwidth * 1e-9, links.to_gpu * 1e-9,
              links.from_gpu * 1e-9);
  for (const auto& peer : links.peers) {
    std::printf("to GPU %d %.1f GB/s%s\n", peer.device, peer.bandwidth * 1e-9, peer.direct ? "" : ", by way of the host: no expert parallelism with it");
  }
}

Status check_model(const ModelSettings& settings) {
  const model::Options options{.max_model_len = 64, .max_batched_tokens = 16, .max_sequences = 4};
  ASSIGN_OR_RETURN(const auto loaded, load_model(settings, options, true));
  std::printf("model %s: loads in %.2f s, %zu MiB of weights\n", settings.model.c_str(), loaded.seconds,
              loaded.model->weight_bytes() >> 20);
  ASSIGN_OR_RETURN(const auto text, load_text(settings, loaded.model->config()));
  std::printf("tokenizer: %s, chat template: %s, structured output: %s\n", text.tokenizer ? "ok" : "none",
              text.chat_template ? "ok" : "none", text.vocabulary.grammars ? "ok" : "none");
  return self_test(*loaded.model, text.tokenizer.get());
}

}  // namespace

int doctor(Words words) {
  ModelSettings settings;
  const auto parsed = config::parse(settings, words, parse_options());
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts(config::help<ModelSettings>({"braid doctor [MODEL] [flags]",
        "Checks this machine, that a model folder loads, and that the model generates.", ""}).c_str());
    return 0;
  }
  {
    const auto device = open_device(settings);
    if (!device.ok()) return fail(device.error());
    print_features(device->stream->capabilities());
    std::printf("workers %d, memory that can be taken %lld MiB\n", device->stream->workers(),
                static_cast<long long>(engine::available_memory(device->stream.get()) >> 20));
    if (device->stream->capabilities().device == "cuda") print_bandwidths(*device->stream);
  }
  if (settings.model.empty()) {
    std::puts("name a model folder to check it too: braid doctor models/lexicon-30m");
    return 0;
  }
  const Status status = check_model(settings);
  return status.ok() ? 0 : fail(status.error());
}

}  // namespace braid::app
