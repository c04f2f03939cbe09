// SPDX-License-Identifier: Apache-2.0
#include "moe/all2all/incoming.h"

#include <string>

namespace braid::moe {

Incoming::Incoming(int rank, int ranks, bool row_per_choice)
    : rank_(rank), row_per_choice_(row_per_choice), sources_(static_cast<std::size_t>(ranks)) {}

Status Incoming::sort(const Copies& copies, int slots, int top_k, std::int32_t slab_rows, int layer) {
  const int ranks = static_cast<int>(sources_.size());
  offsets_.assign(static_cast<std::size_t>(slots) + 1, 0);
  for (int s = 0; s < ranks; ++s) {
    for (std::int32_t i = 0; i < source(s).copies; ++i) {
      const Ticket& t = *copies(s, i).ticket;
      RETURN_IF_ERROR(check(s, t, slots, top_k, layer));
      for (int c = 0; c < t.choices; ++c) ++offsets_[static_cast<std::size_t>(t.choice[c].slot) + 1];
    }
  }
  for (std::size_t s = 1; s < offsets_.size(); ++s) offsets_[s] += offsets_[s - 1];
  cursor_.assign(offsets_.begin(), offsets_.end() - 1);
  row_token_.resize(static_cast<std::size_t>(offsets_.back()));
  for (int s = 0; s < ranks; ++s) {
    Source& from = sources_[static_cast<std::size_t>(s)];
    from.homes.clear();
    from.starts.assign(1, 0);
    from.results.clear();
    from.weights.clear();
    for (std::int32_t i = 0; i < from.copies; ++i) place(from, copies(s, i), slab_rows);
  }
  return Status::success();
}

Status Incoming::check(int source, const Ticket& t, int slots, int top_k, int layer) const {
  bool good = t.choices >= 0 && t.choices <= top_k && t.first_return >= 0;
  for (int i = 0; good && i < t.choices; ++i) good = t.choice[i].slot >= 0 && t.choice[i].slot < slots;
  if (good) return Status::success();
  return internal_error("rank " + std::to_string(source) + " sent rank " + std::to_string(rank_) +
                        " a token for experts that it does not hold, in layer " + std::to_string(layer) +
                        "; their placements differ");
}

void Incoming::place(Source& from, const Arrived& copy, std::int32_t slab_rows) {
  const Ticket& t = *copy.ticket;
  const auto end_row = [&](std::int32_t home) {
    from.homes.push_back(home);
    from.starts.push_back(static_cast<std::int32_t>(from.results.size()));
  };
  for (int c = 0; c < t.choices; ++c) {
    const auto slot = static_cast<std::size_t>(t.choice[c].slot);
    const std::int32_t pair = cursor_[slot]++;
    row_token_[static_cast<std::size_t>(pair)] = copy.row;
    const std::int32_t result = slab_rows == 0 ? pair : t.choice[c].slot * slab_rows + pair - offsets_[slot];
    from.results.push_back(result);
    from.weights.push_back(row_per_choice_ ? 1.0f : t.choice[c].weight);
    if (row_per_choice_) end_row(t.first_return + t.choice[c].index);
  }
  if (!row_per_choice_) end_row(t.first_return);
}

}  // namespace braid::moe
