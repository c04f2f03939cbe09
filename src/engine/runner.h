// SPDX-License-Identifier: Apache-2.0
// From a step's plan to logits: builds the model's batch and runs it.
#pragma once

#include <vector>

#include "base/result.h"
#include "engine/scheduler.h"
#include "model/model.h"

namespace braid::engine {

// Which rows of the logits belong to one item of the plan.
struct LogitRows {
  std::int32_t prompt_first = 0;  // rows of the logits for prompt positions, in order, if wanted
  std::int32_t prompt_count = 0;
  std::int32_t next = -1;         // the row that predicts the next token; -1 if more is to come
};

class Runner {
 public:
  // Both outlive the runner.
  Runner(model::Model* model, kv::Cache* cache) : model_(model), cache_(cache) {}

  // Computes the plan, which may be empty when other ranks compute; `most_tokens` as in model::Batch.
  // The result and rows() are valid until the next call.
  Result<Matrix<const float>> run(const StepPlan& plan, std::int64_t most_tokens = 0);
  // One per item of the plan.
  const std::vector<LogitRows>& rows() const { return rows_; }

 private:
  void add_prompt_rows(const PlannedWork& work, LogitRows& rows);
  void add_generated_rows(const PlannedWork& work, LogitRows& rows);
  void add_token(const Sequence& sequence, std::int32_t position);
  std::int32_t want_logits();

  model::Model* model_;
  kv::Cache* cache_;
  model::Batch batch_;
  std::vector<LogitRows> rows_;
};

}  // namespace braid::engine
