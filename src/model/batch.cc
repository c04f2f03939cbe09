// SPDX-License-Identifier: Apache-2.0
#include "model/batch.h"

namespace braid::model {

void Batch::clear() {
  token_ids.clear();
  positions.clear();
  slots.clear();
  prefill.clear();
  decode.clear();
  logit_rows.clear();
  draws.clear();
  two_halves = false;
  most_tokens = 0;
}

}  // namespace braid::model
