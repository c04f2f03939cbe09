// SPDX-License-Identifier: Apache-2.0
#include "model/simulated.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "base/check.h"

namespace braid::model {
namespace {

constexpr float kCertain = 40.0f;  // the logit of what is said next; all others are 0
constexpr std::uint64_t kSeed = 0x9e3779b97f4a7c15;

std::uint64_t mix(std::uint64_t hash, std::int32_t token) {
  hash = (hash ^ static_cast<std::uint32_t>(token)) * 0xff51afd7ed558ccd;
  return hash ^ (hash >> 32);
}

bool read_number(std::string_view text, double& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(value) && value >= 0;
}

class Simulated final : public Model {
 public:
  Simulated(Config config, SimulatedOptions simulated) : config_(std::move(config)), simulated_(std::move(simulated)) {
    CHECK(!simulated_.words.empty());
  }

  const Config& config() const override { return config_; }
  kv::Layout cache_layout() const override {
    static_assert(sizeof(std::uint64_t) == 2 * sizeof(float));
    return {1, 2, DType::kF32, nullptr};
  }

  Result<Matrix<const float>> forward(const Batch& batch, kv::Cache& cache, const Trace*) override {
    ++steps_;
    if (steps_ == simulated_.fail_at_step) return internal_error("the simulated device failed, as --simulated.fail-at-step wants");
    const bool hangs = simulated_.hang_at_step > 0 && steps_ >= simulated_.hang_at_step;
    simulated_.wait(hangs ? std::chrono::hours(1) : simulated_.costs.of(batch));
    hashes_.clear();
    for (const PrefillChunk& chunk : batch.prefill) compute(batch, chunk, cache);
    for (const DecodeRow& row : batch.decode) {
      compute(batch, {static_cast<std::int32_t>(hashes_.size()), 1, row.position, row.block_table}, cache);
    }
    return speak(batch);
  }

  Status regroup(const moe::ExpertParallel&) override { return {}; }
  std::size_t weight_bytes() const override { return 0; }
  const std::vector<ChosenKernel>& chosen_kernels() const override { return kernels_; }

 private:
  static std::byte* row(kv::Cache& cache, std::int64_t slot) { return cache.layer(0).row(slot); }

  static std::uint64_t hash_before(const PrefillChunk& chunk, kv::Cache& cache) {
    if (chunk.position == 0) return kSeed;
    const int last = chunk.position - 1, size = cache.block_size();
    std::uint64_t hash = 0;
    std::memcpy(&hash, row(cache, static_cast<std::int64_t>(chunk.block_table[last / size]) * size + last % size), sizeof hash);
    return hash;
  }

  void compute(const Batch& batch, const PrefillChunk& chunk, kv::Cache& cache) {
    std::uint64_t hash = hash_before(chunk, cache);
    for (int i = 0; i < chunk.rows; ++i) {
      const auto at = static_cast<std::size_t>(chunk.first_row + i);
      hash = mix(hash, batch.token_ids[at]);
      if (batch.slots[at] >= 0) std::memcpy(row(cache, batch.slots[at]), &hash, sizeof hash);
      hashes_.push_back(hash);
    }
  }

  std::int32_t next_token(std::uint64_t hash) const {
    const bool ends = simulated_.mean_output_tokens > 0 && !config_.eos_ids.empty() &&
                      (hash >> 20) % static_cast<std::uint64_t>(simulated_.mean_output_tokens) == 0;
    return ends ? config_.eos_ids.front() : simulated_.words[hash % simulated_.words.size()];
  }

  Matrix<const float> speak(const Batch& batch) {
    const auto vocabulary = static_cast<std::size_t>(config_.vocab_size);
    for (const std::size_t said : said_) logits_[said] = 0;
    said_.clear();
    if (logits_.size() < batch.logit_rows.size() * vocabulary) logits_.resize(batch.logit_rows.size() * vocabulary);
    for (std::size_t i = 0; i < batch.logit_rows.size(); ++i) {
      const std::int32_t token = next_token(hashes_[static_cast<std::size_t>(batch.logit_rows[i])]);
      said_.push_back(i * vocabulary + static_cast<std::size_t>(token));
      logits_[said_.back()] = kCertain;
    }
    const auto rows = static_cast<std::int64_t>(batch.logit_rows.size());
    return {logits_.data(), rows, config_.vocab_size, config_.vocab_size};
  }

  const Config config_;
  const SimulatedOptions simulated_;
  const std::vector<ChosenKernel> kernels_;
  std::vector<float> logits_;
  std::vector<std::size_t> said_;      // entries of logits_ that are not 0
  std::vector<std::uint64_t> hashes_;  // by token row
  std::int64_t steps_ = 0;
};

}  // namespace

Result<Curve> Curve::parse(std::string_view text, const std::string& name) {
  Curve curve;
  const auto wrong = [&] {
    return invalid_argument(name + ": '" + std::string(text) + "' is not a list of points with rising numbers; write 1:6,64:9,256:20", name);
  };
  for (std::size_t begin = 0, end = 0; begin <= text.size(); begin = end + 1) {
    end = std::min(text.find(',', begin), text.size());
    const std::string_view point = text.substr(begin, end - begin);
    const std::size_t colon = point.find(':');
    Point p{};
    if (colon == std::string_view::npos || !read_number(point.substr(0, colon), p.x) || !read_number(point.substr(colon + 1), p.y)) return wrong();
    if (!curve.points_.empty() && p.x <= curve.points_.back().x) return wrong();
    curve.points_.push_back(p);
  }
  return curve;
}

double Curve::at(double x) const {
  if (x <= points_.front().x || points_.size() == 1) return points_.front().y;
  std::size_t i = 1;
  while (i + 1 < points_.size() && points_[i].x < x) ++i;
  const Point &a = points_[i - 1], &b = points_[i];
  return std::max(0.0, a.y + (b.y - a.y) * (x - a.x) / (b.x - a.x));
}

Duration SimulatedCosts::of(const Batch& batch) const {
  double ms = batch.decode.empty() ? 0 : itl_ms.at(static_cast<double>(batch.decode.size()));
  for (const PrefillChunk& chunk : batch.prefill) {
    const double before = chunk.position == 0 ? 0 : ttft_ms.at(chunk.position);
    ms += std::max(0.0, ttft_ms.at(chunk.position + chunk.rows) - before);
  }
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double, std::milli>(ms));
}

std::unique_ptr<Model> make_simulated(Config config, SimulatedOptions simulated) {
  return std::make_unique<Simulated>(std::move(config), std::move(simulated));
}

}  // namespace braid::model
