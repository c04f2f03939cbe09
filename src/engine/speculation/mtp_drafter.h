// SPDX-License-Identifier: Apache-2.0
// Drafts with the model's own module. Its first pass goes over every row that the step computed, as
// its own layer of the cache needs them all, and guesses one token; each further pass guesses one
// more from the pass before. A sequence that the drafter did not follow from its start is left alone:
// the module's keys and values would have gaps.
#pragma once

#include <vector>

#include "engine/speculation/drafter.h"
#include "kv/cache.h"
#include "model/model.h"

namespace braid::engine {

class MtpDrafter final : public Drafter {
 public:
  // Both outlive the drafter. The batch of the model's last forward() must be the step's.
  MtpDrafter(model::DraftModule* module, kv::Cache* cache) : module_(module), cache_(cache) { batch_.groups = cache->layout().groups.size(); }

  Status draft(std::span<const DraftWork> work, const DraftPlan& plan) override;

 private:
  void follow(std::span<const DraftWork> work);
  void add_prompt_rows(const DraftWork& item);
  void add_generated_rows(const DraftWork& item);
  void add_row(const Sequence& sequence, std::int32_t position, std::int32_t token, std::int32_t source);
  void want_draft(const DraftWork& item);
  void take(Matrix<const float> logits);
  void go_on();

  model::DraftModule* module_;
  kv::Cache* cache_;
  model::Batch batch_;
  std::vector<std::int32_t> sources_;
  std::vector<const DraftWork*> drafting_;  // one per row of logits
  std::vector<const DraftWork*> unfinished_;
};

}  // namespace braid::engine
