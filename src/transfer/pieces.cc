// SPDX-License-Identifier: Apache-2.0
#include "transfer/pieces.h"

#include <algorithm>

namespace braid::transfer {
namespace {

// Consecutive rows of a layer, in both caches.
struct Run {
  std::size_t ours = 0;
  std::size_t theirs = 0;
  std::size_t rows = 0;
};

struct Place {
  std::size_t row;
  std::size_t left;  // rows to the end of its block
};

Place place_of(std::int32_t position, std::span<const kv::BlockId> blocks, int block_size) {
  const auto block = static_cast<std::size_t>(blocks[static_cast<std::size_t>(position / block_size)]);
  const auto offset = static_cast<std::size_t>(position % block_size);
  const auto size = static_cast<std::size_t>(block_size);
  return {block * size + offset, size - offset};
}

std::vector<Run> runs_of(const Rows& rows, int our_size, int their_size) {
  std::vector<Run> runs;
  for (std::int32_t position = rows.first; position < rows.end;) {
    const Place ours = place_of(position, rows.ours, our_size), theirs = place_of(position, rows.theirs, their_size);
    const std::size_t count = std::min({ours.left, theirs.left, static_cast<std::size_t>(rows.end - position)});
    Run* const last = runs.empty() ? nullptr : &runs.back();
    if (last && last->ours + last->rows == ours.row && last->theirs + last->rows == theirs.row) last->rows += count;
    else runs.push_back({ours.row, theirs.row, count});
    position += static_cast<std::int32_t>(count);
  }
  return runs;
}

}  // namespace

std::vector<fabric::Piece> pieces_of(const Memory& memory, const Shape& theirs, const Rows& rows, std::size_t longest) {
  const Shape& ours = memory.shape();
  const auto row_bytes = static_cast<std::size_t>(ours.row_bytes);
  const std::size_t most = std::max<std::size_t>(1, longest / row_bytes);
  const std::vector<Run> runs = runs_of(rows, ours.block_size, theirs.block_size);
  std::vector<fabric::Piece> pieces;
  for (int layer = 0; layer < ours.layers; ++layer) {
    for (const Run& run : runs) {
      for (std::size_t done = 0; done < run.rows; done += most) {
        const std::size_t count = std::min(most, run.rows - done);
        pieces.push_back({memory.layer(layer) + (run.ours + done) * row_bytes,
                          theirs.layer_offset(layer) + (run.theirs + done) * row_bytes, count * row_bytes});
      }
    }
  }
  return pieces;
}

}  // namespace braid::transfer
