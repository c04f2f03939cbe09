// SPDX-License-Identifier: Apache-2.0
// From a step's plan to logits: builds the model's batch and runs it.
#pragma once

#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "base/result.h"
#include "engine/scheduler.h"
#include "model/model.h"

namespace braid::engine {

// Which rows belong to one item of the plan. Of the logits:
struct ItemRows {
  std::int32_t prompt_first = 0;  // for prompt positions, in order, if wanted
  std::int32_t prompt_count = 0;
  std::int32_t next = -1;         // predicts the next token; -1 if more is to come. Those behind it
                                  // predict what follows the drafted tokens.
  // And of the batch, the first rows of its prompt and of its generated tokens:
  std::int32_t prompt_row = 0;
  std::int32_t generated_row = 0;
};

class Runner {
 public:
  // How the token after a sequence's next `ahead` ones is chosen, if the model does that.
  using Draws = std::function<ops::ChooseTokens::Draw(const Sequence&, int ahead)>;
  // Both pointers outlive the runner.
  Runner(model::Model* model, kv::Cache* cache, Draws draws) : model_(model), cache_(cache), draws_(model->chooses() ? std::move(draws) : Draws()) { batch_.groups = cache->layout().groups.size(); }

  // Computes the plan, which may be empty when other ranks compute; `most_tokens` and `two_halves` as
  // in model::Batch.
  // The result and rows() are valid until the next call.
  Result<Matrix<const float>> run(const StepPlan& plan, std::int64_t most_tokens = 0, bool two_halves = false);
  // The token that the model chose from a row of the logits, which then are undefined; nothing: the host is to choose.
  std::optional<std::int32_t> chosen(std::int32_t row) const;
  // One per item of the plan.
  const std::vector<ItemRows>& rows() const { return rows_; }

 private:
  void add_prompt_rows(const PlannedWork& work, ItemRows& rows);
  void add_generated_rows(const PlannedWork& work, ItemRows& rows);
  void add_token(const Sequence& sequence, std::int32_t position, std::int32_t token);
  // Of the row that was added last; for a token that is to be sampled, or for others to see.
  std::int32_t want_logits(const ops::ChooseTokens::Draw& draw = {});
  ops::ChooseTokens::Draw draw_of(const Sequence& sequence, int ahead) const { return draws_ ? draws_(sequence, ahead) : ops::ChooseTokens::Draw(); }

  model::Model* model_;
  kv::Cache* cache_;
  const Draws draws_;
  model::Batch batch_;
  std::vector<ItemRows> rows_;
};

}  // namespace braid::engine
