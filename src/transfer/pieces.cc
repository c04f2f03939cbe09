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

// Rows of one group.
struct Part {
  Rows rows;
  std::size_t group;
  std::size_t groups;

  Part(const Memory& memory, const Rows& all, int g)
      : rows(all), group(static_cast<std::size_t>(g)), groups(static_cast<std::size_t>(memory.groups().size())) {
    rows.first = std::max(rows.first, static_cast<std::int32_t>(memory.groups().span(g).first_key(rows.next)));
  }
  kv::BlockId block(std::span<const kv::BlockId> blocks, std::int32_t position, int block_size) const {
    const std::size_t entry = static_cast<std::size_t>(position / block_size) * groups + group;
    return entry < blocks.size() ? blocks[entry] : kv::kNoBlock;
  }
};

Place place_of(std::int32_t position, kv::BlockId block, int block_size) {
  const auto offset = static_cast<std::size_t>(position % block_size), size = static_cast<std::size_t>(block_size);
  return {static_cast<std::size_t>(block) * size + offset, size - offset};
}

std::vector<Run> runs_of(const Part& part, int our_size, int their_size) {
  std::vector<Run> runs;
  const Rows& rows = part.rows;
  for (std::int32_t position = rows.first; position < rows.end;) {
    const Place ours = place_of(position, part.block(rows.ours, position, our_size), our_size);
    const Place theirs = place_of(position, part.block(rows.theirs, position, their_size), their_size);
    const std::size_t count = std::min({ours.left, theirs.left, static_cast<std::size_t>(rows.end - position)});
    Run* const last = runs.empty() ? nullptr : &runs.back();
    if (last && last->ours + last->rows == ours.row && last->theirs + last->rows == theirs.row) last->rows += count;
    else runs.push_back({ours.row, theirs.row, count});
    position += static_cast<std::int32_t>(count);
  }
  return runs;
}

}  // namespace

bool held(const Memory& memory, const Shape& theirs, const Rows& rows) {
  const int our_size = memory.shape().block_size;
  for (int g = 0; g < memory.groups().size(); ++g) {
    const Part part(memory, rows, g);
    for (std::int32_t p = part.rows.first; p < rows.end; ++p) {
      if (part.block(rows.ours, p, our_size) < 0 || part.block(rows.theirs, p, theirs.block_size) < 0) return false;
    }
  }
  return true;
}

std::vector<fabric::Piece> pieces_of(const Memory& memory, const Shape& theirs, const Rows& rows, std::size_t longest) {
  const Shape& ours = memory.shape();
  const auto row_bytes = static_cast<std::size_t>(ours.row_bytes);
  const std::size_t most = std::max<std::size_t>(1, longest / row_bytes);
  std::vector<fabric::Piece> pieces;
  for (int g = 0; g < memory.groups().size(); ++g) {
    const std::vector<Run> runs = runs_of(Part(memory, rows, g), ours.block_size, theirs.block_size);
    for (int layer = 0; layer < memory.groups().layers_of(g, ours.layers); ++layer) {
      for (const Run& run : runs) {
        for (std::size_t done = 0; done < run.rows; done += most) {
          const std::size_t count = std::min(most, run.rows - done);
          pieces.push_back({memory.layer(layer) + (run.ours + done) * row_bytes,
                            theirs.layer_offset(layer) + (run.theirs + done) * row_bytes, count * row_bytes});
        }
      }
    }
  }
  return pieces;
}

}  // namespace braid::transfer
