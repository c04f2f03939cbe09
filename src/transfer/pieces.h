// SPDX-License-Identifier: Apache-2.0
// Which bytes of a peer's cache go where in ours.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fabric/transport.h"
#include "kv/block_pool.h"
#include "transfer/memory.h"

namespace braid::transfer {

// The rows of tokens [first, end) of a sequence whose blocks are `theirs` there and `ours` here, as
// kv::PageTable::entries() gives them. Of groups of layers that see only a window or a chunk, those rows that
// the token at `next` sees.
struct Rows {
  std::int32_t first = 0;
  std::int32_t end = 0;
  std::int32_t next = 0;
  std::span<const kv::BlockId> ours;
  std::span<const kv::BlockId> theirs;
};

// Whether both sides hold all of these rows.
bool held(const Memory& memory, const Shape& theirs, const Rows& rows);
// One piece for each run that is contiguous on both sides, layer after layer; block sizes may differ. At
// most `longest` bytes each. REQUIRES: held().
std::vector<fabric::Piece> pieces_of(const Memory& memory, const Shape& theirs, const Rows& rows, std::size_t longest);

}  // namespace braid::transfer
