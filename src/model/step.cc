// SPDX-License-Identifier: Apache-2.0
#include "model/step.h"

#include <algorithm>

namespace braid::model {
namespace {

// More than any step puts: arrays of the tokens, tables, keys of prefill chunks and what is said of each.
std::size_t most_bytes(const Batch& batch, std::size_t sources, int block_size) {
  constexpr std::size_t kArray = 16, kChunk = 512;
  std::size_t words = 4 * batch.token_ids.size() + batch.logit_rows.size() + sources + 1024;
  for (const auto& row : batch.decode) words += static_cast<std::size_t>(row.position / block_size + 1) + kArray;
  for (const auto& chunk : batch.prefill) words += 2 * static_cast<std::size_t>(chunk.position + chunk.rows) + kChunk;
  return words * sizeof(std::int32_t) + batch.decode.size() * sizeof(ops::AttentionDecode::Row);
}

std::uint64_t key_of(const Step& step) {
  if (step.prefill_rows > 0 || step.tokens == 0 || !step.sources.empty() || step.most_tokens > step.tokens) return 0;
  std::int64_t longest = 1;
  for (const auto& row : step.decode) longest = std::max<std::int64_t>(longest, row.context);
  const auto word = [](std::int64_t value, int shift) { return static_cast<std::uint64_t>(value) << shift; };
  return word(step.tokens, 0) | word(static_cast<std::int64_t>(step.logit_rows.size()), 20) |
         word(ops::AttentionDecode::most_splits(longest), 40);
}

}  // namespace

Step StepMaker::begin(const Batch& batch, std::span<const std::int32_t> sources, int block_size) {
  block_size_ = block_size;
  staging_.begin(most_bytes(batch, sources.size(), block_size));
  Step step;
  step.tokens = batch.tokens();
  step.prefill_rows = batch.prefill_rows();
  step.most_tokens = std::max(batch.most_tokens, batch.tokens());
  step.block_size = block_size;
  const auto put = [&](std::span<const std::int32_t> values) { return staging_.put(values); };
  step.token_ids = put(batch.token_ids);
  step.positions = put(batch.positions);
  step.slots = put(batch.slots);
  step.logit_rows = put(batch.logit_rows);
  step.sources = put(sources);
  all_rows_[1] = static_cast<std::int32_t>(batch.tokens());
  step.all_rows = put(all_rows_);
  rows_.assign(batch.decode.size(), {});
  step.decode = staging_.put(std::span<const ops::AttentionDecode::Row>(rows_));
  fill_tables(batch);
  staging_.replace(step.decode, std::span<const ops::AttentionDecode::Row>(rows_));
  step.key = key_of(step);
  return step;
}

// Rows of one sequence follow each other and share the last one's table, which is the longest.
void StepMaker::fill_tables(const Batch& batch) {
  const std::int32_t* shared = nullptr;
  for (std::size_t i = batch.decode.size(); i-- > 0;) {
    const DecodeRow& row = batch.decode[i];
    const bool last = i + 1 == batch.decode.size() || batch.decode[i + 1].block_table != row.block_table;
    if (last) shared = table(row.block_table, row.position + 1);
    rows_[i] = {shared, row.position + 1};
  }
}

const std::int32_t* StepMaker::table(const PrefillChunk& chunk) { return table(chunk.block_table, chunk.position + chunk.rows); }

const std::int32_t* StepMaker::table(const std::int32_t* blocks, std::int32_t positions) {
  const auto count = static_cast<std::size_t>((positions + block_size_ - 1) / block_size_);
  return staging_.put(std::span(blocks, count)).device;
}

}  // namespace braid::model
