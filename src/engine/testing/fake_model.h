// SPDX-License-Identifier: Apache-2.0
// A model without weights, for tests and benchmarks: logits are a fixed function of the tokens that
// a row's page table leads to, and of which of them were computed as generated tokens. A wrong slot,
// page table, position or kind of row therefore changes the output. Its draft module foresees the
// model's own logits, if it is told the right rows and its own cache layer knows every token.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "model/model.h"
#include "sample/choose.h"

namespace braid::engine::testing {

struct FakeModelOptions {
  std::int32_t vocabulary = 64;
  bool history = true;  // false: logits follow from the row's own token only, which is cheap
  bool draft_module = false;
  int window = 0;       // > 0: a further layer of the cache, whose keys of the last so many tokens count too
  int fail_at = -1;     // the forward() call, counted from 0, that fails
  std::function<void()> before_step = {};  // called by forward()
  bool chooses = false;  // follows the batch's draws, and spoils the logits that it chose from
};

class FakeModel final : public model::Model, private model::DraftModule {
 public:
  explicit FakeModel(FakeModelOptions options = {}) : options_(options) { config_.vocab_size = options.vocabulary; }

  const model::Config& config() const override { return config_; }
  kv::Layout cache_layout() const override {
    kv::Layout layout{options_.draft_module ? 2 : 1, 1, DType::kF32};
    if (options_.window == 0) return layout;
    layout.spans.resize(static_cast<std::size_t>(layout.layers++));
    layout.spans.push_back({options_.window, 0});
    return layout;
  }
  model::DraftModule* draft_module() override { return options_.draft_module ? this : nullptr; }
  bool chooses() const override { return options_.chooses; }
  std::span<const std::int32_t> chosen() const override { return chosen_; }
  std::size_t weight_bytes() const override { return 0; }
  const std::vector<ChosenKernel>& chosen_kernels() const override { return kernels_; }

  Result<Matrix<const float>> forward(const model::Batch& batch,
                                      kv::Cache& cache,
                                      const model::Trace* = nullptr) override {
    if (options_.before_step) options_.before_step();
    if (calls_++ == options_.fail_at) return internal_error("planted failure");
    store(batch, cache);
    states_.clear();
    for (std::int32_t row = 0; row < batch.tokens(); ++row) states_.push_back(history_of(batch, cache, row));
    const auto rows = static_cast<std::int64_t>(batch.logit_rows.size());
    logits_.resize(static_cast<std::size_t>(rows * options_.vocabulary));
    for (std::int64_t i = 0; i < rows; ++i) {
      fill(states_[static_cast<std::size_t>(batch.logit_rows[static_cast<std::size_t>(i)])],
           logits_.data() + i * options_.vocabulary);
    }
    choose(batch.draws);
    return Matrix<const float>(logits_.data(), rows, options_.vocabulary);
  }

 private:
  Result<Matrix<const float>> draft(const model::Batch& batch,
                                    std::span<const std::int32_t> sources,
                                    model::DraftFrom from,
                                    kv::Cache& cache) override {
    const std::vector<std::uint64_t> before = states_;
    auto* next = reinterpret_cast<float*>(cache.layer(1).row(0));
    states_.clear();
    logits_.resize(batch.logit_rows.size() * static_cast<std::size_t>(options_.vocabulary));
    for (std::size_t row = 0; row < batch.token_ids.size(); ++row) {
      const auto index = static_cast<std::int32_t>(row);
      next[slot_of(table_of(batch, index), batch, cache, batch.positions[row], cache.group_of(1))] = static_cast<float>(batch.token_ids[row]);
    }
    for (std::size_t i = 0; i < batch.logit_rows.size(); ++i) {
      const std::int32_t row = batch.logit_rows[i];
      const auto token = static_cast<float>(batch.token_ids[static_cast<std::size_t>(row)]) + 0.5f;
      std::uint64_t state = extend(before[static_cast<std::size_t>(sources[static_cast<std::size_t>(row)])], token);
      if (from == model::DraftFrom::kForward && !followed(batch, cache, row)) state = ~state;
      states_.push_back(state);
      fill(state, logits_.data() + i * static_cast<std::size_t>(options_.vocabulary));
    }
    return Matrix<const float>(logits_.data(), static_cast<std::int64_t>(batch.logit_rows.size()), options_.vocabulary);
  }

  void choose(std::span<const ops::ChooseTokens::Draw> draws) {
    using By = ops::ChooseTokens::By;
    chosen_.clear();
    for (const auto& d : draws) {
      const auto row = std::span(logits_).subspan(chosen_.size() * static_cast<std::size_t>(options_.vocabulary), static_cast<std::size_t>(options_.vocabulary));
      const auto columns = row.first(static_cast<std::size_t>(d.columns));
      const sample::Restriction restriction{d.temperature, d.min_p, d.top_k, d.top_p};
      chosen_.push_back(d.by == By::kChance ? sample::choose(columns, restriction, d.draw, scratch_) : sample::argmax(columns));
      if (d.by != By::kHost) std::fill(row.begin(), row.end(), 0.0f);
    }
  }

  // The module's layer holds the token after each that the model's layer holds.
  static bool followed(const model::Batch& batch, kv::Cache& cache, std::int32_t row) {
    const std::int32_t* table = table_of(batch, row);
    const auto* keys = reinterpret_cast<const float*>(cache.layer(0).row(0));
    const auto* next = reinterpret_cast<const float*>(cache.layer(1).row(0));
    const auto slot = [&](std::int32_t p, int layer) { return slot_of(table, batch, cache, p, cache.group_of(layer)); };
    for (std::int32_t p = 0; p < batch.positions[static_cast<std::size_t>(row)]; ++p) {
      if (static_cast<std::int32_t>(next[slot(p, 1)]) != static_cast<std::int32_t>(keys[slot(p + 1, 0)])) return false;
    }
    return true;
  }

  static std::uint64_t extend(std::uint64_t hash, float key) {
    return (hash ^ static_cast<std::uint64_t>(key * 2)) * 1099511628211u;
  }

  void store(const model::Batch& batch, kv::Cache& cache) const {
    auto* keys = reinterpret_cast<float*>(cache.layer(0).row(0));
    for (std::size_t row = 0; row < batch.token_ids.size(); ++row) {
      const bool generated = static_cast<std::int64_t>(row) >= batch.prefill_rows();
      const float key = static_cast<float>(batch.token_ids[row]) + (generated ? 0.5f : 0.0f);
      keys[batch.slots[row]] = key;
      if (options_.window == 0) continue;
      const auto index = static_cast<std::int32_t>(row);
      window_keys(cache)[slot_of(table_of(batch, index), batch, cache, batch.positions[row], cache.group_of(window_layer()))] = key;
    }
  }

  std::uint64_t history_of(const model::Batch& batch, kv::Cache& cache, std::int32_t row) const {
    const std::int32_t* table = table_of(batch, row);
    const std::int32_t position = batch.positions[static_cast<std::size_t>(row)];
    const auto* keys = reinterpret_cast<const float*>(cache.layer(0).row(0));
    std::uint64_t hash = 1469598103934665603u;
    for (std::int32_t p = options_.history ? 0 : position; p <= position; ++p) {
      hash = extend(hash, keys[slot_of(table, batch, cache, p, 0)]);
    }
    for (std::int32_t p = std::max(0, position + 1 - options_.window); options_.window > 0 && p <= position; ++p) {
      hash = extend(hash, window_keys(cache)[slot_of(table, batch, cache, p, cache.group_of(window_layer()))]);
    }
    return hash;
  }

  int window_layer() const { return options_.draft_module ? 2 : 1; }
  float* window_keys(kv::Cache& cache) const { return reinterpret_cast<float*>(cache.layer(window_layer()).row(0)); }
  static std::int32_t slot_of(const std::int32_t* table, const model::Batch& batch, const kv::Cache& cache, std::int32_t position, int group) {
    return table[position / cache.block_size() * batch.groups + group] * cache.block_size() + position % cache.block_size();
  }

  static const std::int32_t* table_of(const model::Batch& batch, std::int32_t row) {
    for (const model::PrefillChunk& chunk : batch.prefill) {
      if (row >= chunk.first_row && row < chunk.first_row + chunk.rows) return chunk.block_table;
    }
    return batch.decode[static_cast<std::size_t>(row - batch.prefill_rows())].block_table;
  }

  void fill(std::uint64_t state, float* logits) const {
    if (!options_.history) {  // one clear winner is enough
      logits[static_cast<std::size_t>(state % static_cast<std::uint64_t>(options_.vocabulary))] += 1;
      return;
    }
    for (std::int32_t token = 0; token < options_.vocabulary; ++token) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      logits[token] = static_cast<float>(state >> 40) / static_cast<float>(1 << 21) - 4.0f;
    }
  }

  FakeModelOptions options_;
  model::Config config_;
  std::vector<ChosenKernel> kernels_;
  std::vector<std::int32_t> chosen_;
  sample::Scratch scratch_;
  std::vector<float> logits_;
  std::vector<std::uint64_t> states_;
  int calls_ = 0;
};

}  // namespace braid::engine::testing
