// SPDX-License-Identifier: Apache-2.0
#include "model/step.h"

#include <algorithm>

namespace braid::model {
namespace {

// More than any step puts: arrays of the tokens, tables, keys of prefill chunks and what is said of each.
std::size_t most_bytes(const Batch& batch, std::size_t sources, int block_size) {
  constexpr std::size_t kArray = 16, kChunk = 512;
  const auto groups = static_cast<std::size_t>(batch.groups);
  std::size_t words = 0;
  for (const auto& row : batch.decode) words += static_cast<std::size_t>(row.position / block_size + 1) + kArray;
  for (const auto& chunk : batch.prefill) words += 2 * static_cast<std::size_t>(chunk.position + chunk.rows) + kChunk;
  words = (words + batch.token_ids.size()) * groups + 3 * batch.token_ids.size() + batch.logit_rows.size() + sources + 1024;
  return words * sizeof(std::int32_t) + groups * (batch.decode.size() + 1) * sizeof(ops::AttentionDecode::Row) +
         batch.draws.size() * sizeof(ops::ChooseTokens::Draw);
}

std::uint64_t key_of(const Step& step) {
  if (step.prefill_rows > 0 || step.tokens == 0 || !step.sources.empty() || step.most_tokens > step.tokens) return 0;
  const auto word = [](std::int64_t value, int shift) { return static_cast<std::uint64_t>(value) << shift; };
  return word(step.tokens, 0) | word(static_cast<std::int64_t>(step.logit_rows.size()), 20) |
         word(step.most_splits(), 40) | word(step.draws.empty() ? 0 : 1, 63);
}

}  // namespace

std::int64_t Step::most_splits() const {
  std::int64_t longest = 1;
  for (const auto& row : pages.front().decode) longest = std::max<std::int64_t>(longest, row.context);
  return ops::AttentionDecode::most_splits(longest);
}

// How many tokens each half has follows from the whole.
std::uint64_t key_of(const Step& whole, std::span<const Step, 2> halves) {
  if (whole.key == 0) return 0;
  std::uint64_t key = whole.key;
  for (const Step& half : halves) key = (key ^ static_cast<std::uint64_t>(half.most_splits() + 1)) * 0x9e3779b97f4a7c15u;
  return key | 1;
}

Step StepMaker::begin(const Batch& batch, std::span<const std::int32_t> sources, int block_size) {
  block_size_ = block_size;
  groups_ = batch.groups;
  own_.resize(static_cast<std::size_t>(groups_));
  tables_.clear();
  staging_.begin(most_bytes(batch, sources.size(), block_size));
  Step step;
  step.tokens = batch.tokens();
  step.prefill_rows = batch.prefill_rows();
  step.most_tokens = std::max(batch.most_tokens, batch.tokens());
  step.block_size = block_size;
  const auto put = [&](std::span<const std::int32_t> values) { return staging_.put(values); };
  step.token_ids = put(batch.token_ids);
  step.positions = put(batch.positions);
  step.logit_rows = put(batch.logit_rows);
  step.draws = staging_.put(std::span<const ops::ChooseTokens::Draw>(batch.draws));
  step.sources = put(sources);
  all_rows_[1] = static_cast<std::int32_t>(batch.tokens());
  step.all_rows = put(all_rows_);
  for (int g = 0; g < groups_; ++g) {
    Own& own = own_[static_cast<std::size_t>(g)];
    fill_slots(batch, g);
    own.rows.assign(batch.decode.size(), {});
    step.pages.push_back({put(g == 0 ? batch.slots : own.slots), staging_.put(std::span<const ops::AttentionDecode::Row>(own.rows))});
  }
  for (int g = 0; g < groups_; ++g) {
    fill_tables(batch, g);
    staging_.replace(step.pages[static_cast<std::size_t>(g)].decode, std::span<const ops::AttentionDecode::Row>(own_[static_cast<std::size_t>(g)].rows));
  }
  step.key = key_of(step);
  return step;
}

// Of a group behind the first.
void StepMaker::fill_slots(const Batch& batch, int group) {
  auto& slots = own_[static_cast<std::size_t>(group)].slots;
  slots.clear();
  if (group == 0) return;
  const auto add = [&](const std::int32_t* table, std::int32_t position) {
    const std::int32_t block = table[position / block_size_ * groups_ + group];
    slots.push_back(batch.slots[slots.size()] < 0 ? -1 : block * block_size_ + position % block_size_);
  };
  for (const PrefillChunk& chunk : batch.prefill) {
    for (std::int32_t i = 0; i < chunk.rows; ++i) add(chunk.block_table, chunk.position + i);
  }
  for (const DecodeRow& row : batch.decode) add(row.block_table, row.position);
}

// Rows of one sequence follow each other and share the last one's table, which is the longest.
void StepMaker::fill_tables(const Batch& batch, int group) {
  auto& rows = own_[static_cast<std::size_t>(group)].rows;
  const std::int32_t* shared = nullptr;
  for (std::size_t i = batch.decode.size(); i-- > 0;) {
    const DecodeRow& row = batch.decode[i];
    const bool last = i + 1 == batch.decode.size() || batch.decode[i + 1].block_table != row.block_table;
    if (last) shared = table(row.block_table, row.position + 1, group);
    rows[i] = {shared, row.position + 1};
  }
}

const std::int32_t* StepMaker::table(const PrefillChunk& chunk, int group) {
  return table(chunk.block_table, chunk.position + chunk.rows, group);
}

const std::int32_t* StepMaker::table(const std::int32_t* blocks, std::int32_t positions, int group) {
  const auto count = static_cast<std::size_t>((positions + block_size_ - 1) / block_size_), groups = static_cast<std::size_t>(groups_);
  if (groups_ == 1) return staging_.put(std::span(blocks, count)).device;
  auto& own = tables_.emplace_back(count);
  for (std::size_t i = 0; i < count; ++i) own[i] = blocks[i * groups + static_cast<std::size_t>(group)];
  return staging_.put(std::span<const std::int32_t>(own)).device;
}

}  // namespace braid::model
