// SPDX-License-Identifier: Apache-2.0
// What a pass takes by its number of rows, measured when the engine starts.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "kv/cache.h"
#include "model/model.h"

namespace braid::engine {

// Seconds by rows, never falling: linear between the points, whose rows ascend, and beyond the last.
// Empty: always 0.
class CostCurve {
 public:
  struct Point {
    double rows = 0;
    double seconds = 0;
  };
  CostCurve() = default;
  explicit CostCurve(std::vector<Point> points);

  double at(double rows) const;
  bool empty() const { return points_.empty(); }

 private:
  std::vector<Point> points_;
};

struct Costs {
  CostCurve forward;
  CostCurve draft;  // one pass of the draft module; empty without one
};

struct CostLimits {
  std::int32_t rows = 1;     // most decode rows of a step
  std::int32_t context = 0;  // tokens that a row attends to
  Duration time{};           // when it is spent, larger steps are left to extrapolation
  // Asked after every step whether the time is spent, with what the clock here says; ranks that share
  // experts must all hear the same. Empty: what the clock says.
  std::function<Result<bool>(bool spent)> agree = {};
};

// Times decode steps of `model`. Nothing is stored in the cache.
Result<Costs> measure_costs(model::Model& model, kv::Cache& cache, const CostLimits& limits, const Clock& clock);

}  // namespace braid::engine
