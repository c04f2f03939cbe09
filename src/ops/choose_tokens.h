// SPDX-License-Identifier: Apache-2.0
// choose_tokens: the next token from each row of logits, where the logits are. What is chosen is what
// sample/choose.h says, for each draw the same token as the host's; rows that need more than that
// (penalties, masks, log-probabilities) are left to the host.
#pragma once

#include <cstdint>

#include "ops/kernel.h"

namespace braid::ops {

struct ChooseTokens {
  static constexpr const char* kName = "choose_tokens";

  enum class By : std::int32_t {
    kHost,     // nothing is chosen, the logits stay as they are
    kLargest,  // the first of the largest
    kChance,
  };
  // How one row's token is chosen.
  struct Draw {
    By by = By::kHost;
    std::int32_t columns = 0;  // the first so many are tokens
    // kChance, as in sample::Restriction:
    float temperature = 1.0f;
    float min_p = 0.0f;
    std::int32_t top_k = 0;
    float top_p = 1.0f;
    double draw = 0.0;
  };

  struct Problem {
    std::int64_t vocabulary = 0;
  };
  struct Args {
    Matrix<float> logits;            // [rows, vocabulary]; overwritten where chance decides
    const Draw* draws = nullptr;     // [rows]
    std::int32_t* tokens = nullptr;  // [rows]; -1: no logit is above -infinity
  };
  using Prepare = std::nullptr_t;
};

}  // namespace braid::ops
