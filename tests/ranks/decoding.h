// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "tests/ranks/loaded_model.h"

namespace braid {

// One sequence that is decoded token after token, of which the tokens are given.
struct Decoding : LoadedModel {
  using LoadedModel::LoadedModel;

  // Adds to `logits` those after the token at `position`: the model's, and its draft module's if it has one.
  void step(int position, int seed, std::vector<float>& logits) {
    model::Batch b;
    b.token_ids.push_back((position * 7 + seed * 31) % model->config().vocab_size);
    b.positions.push_back(position);
    b.slots.push_back(position);
    b.decode.push_back({position, table.data()});
    b.logit_rows.push_back(0);
    b.most_tokens = 1;
    take(model->forward(b, *cache), logits);
    if (auto* module = model->draft_module()) take(module->draft(b, std::vector<std::int32_t>{0}, model::DraftFrom::kForward, *cache), logits);
  }

 private:
  static void take(const Result<Matrix<const float>>& rows, std::vector<float>& into) {
    ASSERT_TRUE(rows.ok()) << rows.error().message;
    into.insert(into.end(), rows->data, rows->data + rows->rows * rows->cols);
  }
};

}  // namespace braid
