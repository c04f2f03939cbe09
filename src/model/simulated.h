// SPDX-License-Identifier: Apache-2.0
// A model without weights whose steps take as long as measured curves say, so that schedulers,
// routers and whole clusters can be tried on any machine at the speed of another one. All around it is
// real: scheduler, cache, ranks, metrics, HTTP.
//
// What it says depends on every token before: a cache row holds the hash of the tokens up to its own,
// made from the row before it as the block table gives it. Two engines so agree on every answer, and
// a block that was mixed up, lost or overwritten shows as another text.
// Thread rules: those of Model.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "model/model.h"

namespace braid::model {

// Points "x:y,x:y,..." with rising x; straight lines between, the last line goes on, and before the
// first point its y holds.
class Curve {
 public:
  // `name` stands in errors.
  static Result<Curve> parse(std::string_view text, const std::string& name);
  double at(double x) const;

 private:
  struct Point {
    double x, y;
  };
  std::vector<Point> points_;
};

struct SimulatedCosts {
  Curve ttft_ms;  // of a prompt alone, by its tokens
  Curve itl_ms;   // of a step that only decodes, by its sequences

  // A chunk takes the difference of two prompts; chunks and decoding add up.
  Duration of(const Batch& batch) const;
};

struct SimulatedOptions {
  SimulatedCosts costs;
  std::vector<std::int32_t> words;  // tokens that it says; not empty
  int mean_output_tokens = 0;       // 0: never ends by itself
  std::int64_t fail_at_step = 0;    // this one returns an error; 0: none
  std::int64_t hang_at_step = 0;    // this one and all after it take an hour; 0: none
  std::function<void(Duration)> wait;  // sleeps
};

std::unique_ptr<Model> make_simulated(Config config, SimulatedOptions simulated);

}  // namespace braid::model
