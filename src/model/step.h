// SPDX-License-Identifier: Apache-2.0
// A batch where kernels read it. Everything that they need to know of a step is put together once,
// before the first layer, and travels in one piece (tensor/staging.h).
#pragma once

#include <deque>
#include <span>
#include <vector>

#include "kv/cache.h"
#include "model/batch.h"
#include "ops/attention.h"
#include "tensor/staging.h"

namespace braid::model {

struct Step {
  std::int64_t tokens = 0;
  std::int64_t prefill_rows = 0;
  std::int64_t most_tokens = 0;  // as in Batch
  int block_size = 0;
  Mirror<std::int32_t> token_ids, positions;  // [tokens]
  Mirror<std::int32_t> logit_rows;
  Mirror<ops::ChooseTokens::Draw> draws;  // of these, or empty
  Mirror<std::int32_t> sources;   // rows that a draft starts from
  Mirror<std::int32_t> all_rows;  // {0, tokens}: one group of all
  // What differs between groups of layers: where keys and values go, and where decode rows find them.
  struct Pages {
    Mirror<std::int32_t> slots;  // [tokens]
    Mirror<ops::AttentionDecode::Row> decode;
  };
  std::vector<Pages> pages;  // by group of the cache

  std::int64_t decode_rows() const { return tokens - prefill_rows; }
  // Steps of equal keys enqueue the same kernels with the same arguments; 0: no other step is like it.
  std::uint64_t key = 0;
  // Of the longest context of its decode rows.
  std::int64_t most_splits() const;
  // Positions and slots of the decode rows.
  const std::int32_t* decode_positions() const { return positions.device + prefill_rows; }
};

// As Step::key, of a step that is computed as two halves.
std::uint64_t key_of(const Step& whole, std::span<const Step, 2> halves);

// Makes steps, each void when the next begins. What is as long as the batch lies before what grows with
// contexts, so that arrays of decode steps keep their places.
// An Attention::Workspace adds what its prefill needs:
// plan(batch, step, stage) may put() more before send().
class StepMaker {
 public:
  explicit StepMaker(Stream& stream) : staging_(stream) {}

  // The batch and `sources` must stay as they are until the step's kernels are done.
  Step begin(const Batch& batch, std::span<const std::int32_t> sources, int block_size);
  // A chunk's block table in one group of layers, as long as its keys need.
  const std::int32_t* table(const PrefillChunk& chunk, int group);
  Staging& staging() { return staging_; }
  int block_size() const { return block_size_; }
  int groups() const { return groups_; }

 private:
  // Of one group:
  struct Own {
    std::vector<std::int32_t> slots;
    std::vector<ops::AttentionDecode::Row> rows;
  };

  const std::int32_t* table(const std::int32_t* blocks, std::int32_t positions, int group);
  void fill_slots(const Batch& batch, int group);
  void fill_tables(const Batch& batch, int group);

  Staging staging_;
  int block_size_ = 0;
  int groups_ = 1;
  std::int32_t all_rows_[2] = {0, 0};
  std::vector<Own> own_;  // by group
  std::deque<std::vector<std::int32_t>> tables_;  // of one group each
};

}  // namespace braid::model
