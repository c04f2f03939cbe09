// SPDX-License-Identifier: Apache-2.0
#include "engine/speculation/costs.h"

#include <algorithm>
#include <numeric>

namespace braid::engine {
namespace {

constexpr int kRounds = 8;

class Probe {
 public:
  Probe(model::Model& model, kv::Cache& cache, std::int32_t context, const Clock& clock)
      : model_(model), cache_(cache), clock_(clock) {
    batch_.groups = cache.layout().groups.size();
    const std::int32_t held = cache.num_blocks() * cache.block_size();
    position_ = std::clamp(context, 0, held - 1);
    table_.resize(static_cast<std::size_t>((position_ / cache.block_size() + 1) * batch_.groups));
    for (std::size_t i = 0; i < table_.size(); ++i) table_[i] = static_cast<std::int32_t>(i) % cache.num_blocks();
  }

  // Seconds of forward and draft.
  Result<std::pair<double, double>> measure(std::int32_t rows) {
    fill(rows);
    const TimePoint begin = clock_.now();
    ASSIGN_OR_RETURN([[maybe_unused]] const auto logits, model_.forward(batch_, cache_));
    const TimePoint middle = clock_.now();
    if (auto* module = model_.draft_module()) {
      ASSIGN_OR_RETURN([[maybe_unused]] const auto guesses,
                       module->draft(batch_, sources_, model::DraftFrom::kForward, cache_));
    }
    return std::pair(to_seconds(middle - begin), to_seconds(clock_.now() - middle));
  }

 private:
  void fill(std::int32_t rows) {
    batch_.clear();
    sources_.resize(static_cast<std::size_t>(rows));
    std::iota(sources_.begin(), sources_.end(), 0);
    for (std::int32_t i = 0; i < rows; ++i) {
      batch_.token_ids.push_back(static_cast<std::int32_t>((i * std::int64_t{7919} + 13) % model_.config().vocab_size));
      batch_.positions.push_back(position_);
      batch_.slots.push_back(-1);
      batch_.decode.push_back({position_, table_.data()});
      batch_.logit_rows.push_back(i);
    }
  }

  model::Model& model_;
  kv::Cache& cache_;
  const Clock& clock_;
  std::int32_t position_ = 0;
  std::vector<std::int32_t> table_;
  model::Batch batch_;
  std::vector<std::int32_t> sources_;
};

}  // namespace

CostCurve::CostCurve(std::vector<Point> points) : points_(std::move(points)) {
  for (std::size_t i = 1; i < points_.size(); ++i) {
    points_[i].seconds = std::max(points_[i].seconds, points_[i - 1].seconds);
  }
}

double CostCurve::at(double rows) const {
  if (points_.empty()) return 0;
  if (points_.size() == 1 || rows <= points_.front().rows) return points_.front().seconds;
  auto next = std::find_if(points_.begin(), points_.end(), [&](const Point& p) { return p.rows >= rows; });
  if (next == points_.end()) --next;
  const Point& a = *(next - 1);
  const double slope = (next->seconds - a.seconds) / (next->rows - a.rows);
  return a.seconds + slope * (rows - a.rows);
}

// Sizes take turns, so that what disturbs the machine for a moment disturbs all alike; the least time of
// each counts, and more rows never cost less.
Result<Costs> measure_costs(model::Model& model, kv::Cache& cache, const CostLimits& limits, const Clock& clock) {
  Probe probe(model, cache, limits.context, clock);
  const TimePoint begin = clock.now();
  std::vector<CostCurve::Point> forward, draft;
  bool spent = false;
  for (int round = 0; round < kRounds && !spent; ++round) {
    std::size_t i = 0;
    for (std::int32_t rows = 1; rows <= limits.rows && !spent; rows += std::max(1, rows / 2), ++i) {
      ASSIGN_OR_RETURN(const auto seconds, probe.measure(rows));
      if (i == forward.size()) {
        forward.push_back({static_cast<double>(rows), seconds.first});
        draft.push_back({static_cast<double>(rows), seconds.second});
      }
      forward[i].seconds = std::min(forward[i].seconds, seconds.first);
      draft[i].seconds = std::min(draft[i].seconds, seconds.second);
      spent = clock.now() - begin > limits.time;
      if (limits.agree) {
        ASSIGN_OR_RETURN(spent, limits.agree(spent));
      }
    }
  }
  if (model.draft_module() == nullptr) draft.clear();
  return Costs{CostCurve(std::move(forward)), CostCurve(std::move(draft))};
}

}  // namespace braid::engine
