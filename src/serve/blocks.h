// SPDX-License-Identifier: Apache-2.0
// An answer as a list of blocks, reasoning, text and calls in the order in which they came, for APIs
// that write it so. One block is open at a time.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "parse/delta.h"

namespace braid::serve {

struct Block {
  enum class Kind { kReasoning, kText, kCall };
  Kind kind = Kind::kText;
  std::string text;           // of a call: its arguments
  std::string call_id, name;  // of a call
};

// Hears what becomes of blocks, as it happens.
class BlockListener {
 public:
  virtual ~BlockListener() = default;
  virtual void begin(const Block& block, std::size_t index) = 0;
  virtual void add(const Block& block, std::size_t index, std::string_view text) = 0;
  virtual void end(const Block& block, std::size_t index) = 0;
};

class Blocks {
 public:
  // `listener` may be null.
  void take(const parse::Delta& delta, BlockListener* listener);
  // Closes the last block.
  void finish(BlockListener* listener);

  const std::vector<Block>& all() const { return blocks_; }
  bool has_calls() const;
  // The texts of all blocks of a kind.
  std::string text_of(Block::Kind kind) const;

 private:
  void add(Block::Kind kind, std::string_view text, BlockListener* listener);
  void begin(Block block, BlockListener* listener);

  std::vector<Block> blocks_;
  bool open_ = false;
};

}  // namespace braid::serve
