// SPDX-License-Identifier: Apache-2.0
#include "model/micro_batches.h"

#include <algorithm>

namespace braid::model {
namespace {

template <class T>
void copy_range(const std::vector<T>& from, std::int64_t begin, std::int64_t end, std::vector<T>& to) {
  to.assign(from.begin() + begin, from.begin() + end);
}

void copy_rows(const Batch& batch, std::int64_t begin, std::int64_t end, Batch& half) {
  half.clear();
  half.groups = batch.groups;
  half.most_tokens = first_half(std::max(batch.most_tokens, batch.tokens()));
  copy_range(batch.token_ids, begin, end, half.token_ids);
  copy_range(batch.positions, begin, end, half.positions);
  copy_range(batch.slots, begin, end, half.slots);
  for (const PrefillChunk& chunk : batch.prefill) {
    const auto first = std::max<std::int64_t>(chunk.first_row, begin), last = std::min<std::int64_t>(chunk.first_row + chunk.rows, end);
    if (first >= last) continue;
    half.prefill.push_back({static_cast<std::int32_t>(first - begin), static_cast<std::int32_t>(last - first),
                            chunk.position + static_cast<std::int32_t>(first - chunk.first_row), chunk.block_table});
  }
  const std::int64_t prefill = batch.prefill_rows();
  copy_range(batch.decode, std::max<std::int64_t>(begin - prefill, 0), std::max<std::int64_t>(end - prefill, 0), half.decode);
}

}  // namespace

std::vector<Stage> overlapped_stages(int layers) {
  using enum Stage::What;
  std::vector<Stage> stages;
  for (int lane : {0, 1}) stages.push_back({kEnter, 0, lane});
  for (int layer = 0; layer < layers; ++layer) {
    for (int lane : {0, 1}) stages.push_back({kCompute, layer, lane});
    for (int lane : {0, 1}) {
      stages.push_back({kFinish, layer, lane});
      if (layer + 1 < layers) stages.push_back({kEnter, layer + 1, lane});
    }
  }
  return stages;
}

void split(const Batch& batch, std::array<Batch, 2>& halves) {
  const std::int64_t middle = first_half(batch.tokens());
  copy_rows(batch, 0, middle, halves[0]);
  copy_rows(batch, middle, batch.tokens(), halves[1]);
}

}  // namespace braid::model
