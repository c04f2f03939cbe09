// SPDX-License-Identifier: Apache-2.0
// One step's work for a model: which tokens, where their keys and values go, whose logits are
// wanted. A value; everything is indexed by token row 0..tokens-1.
//
// Rows are ordered: first the prefill chunks, one after another, then the decode rows. A token
// that belongs to a prompt is a prefill row; a token that was generated is a decode row, also when
// it is computed again after a preemption (then a sequence may have many decode rows), so that the
// same arithmetic gives the same cache.
//
// Block tables have an entry for each group of the cache's layers (kv/layer_groups.h): that of block i and
// group g is table[i * groups + g].
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/choose_tokens.h"

namespace braid::model {

struct PrefillChunk {
  std::int32_t first_row = 0;
  std::int32_t rows = 0;
  std::int32_t position = 0;  // of the first token; keys [0, position) are in the cache already
  const std::int32_t* block_table = nullptr;
};

struct DecodeRow {
  std::int32_t position = 0;
  const std::int32_t* block_table = nullptr;
};

struct Batch {
  std::vector<std::int32_t> token_ids;
  std::vector<std::int32_t> positions;
  // In the first group: cache row = block * block_size + offset; -1: do not store, in no group.
  std::vector<std::int32_t> slots;
  std::vector<PrefillChunk> prefill;
  std::vector<DecodeRow> decode;
  std::vector<std::int32_t> logit_rows;  // token rows whose logits are wanted, ascending
  // Of each row of logits, for a model that chooses tokens (model.h); empty: the host wants all logits.
  std::vector<ops::ChooseTokens::Draw> draws;
  bool two_halves = false;  // compute it as two micro-batches, as all ranks do in this step
  int groups = 1;           // of the cache; clear() leaves it
  std::int64_t most_tokens = 0;  // the largest tokens() of any rank in this step; 0: tokens()

  std::int64_t tokens() const { return static_cast<std::int64_t>(token_ids.size()); }
  std::int64_t prefill_rows() const { return tokens() - static_cast<std::int64_t>(decode.size()); }
  void clear();
};

}  // namespace braid::model
