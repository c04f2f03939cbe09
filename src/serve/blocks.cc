// SPDX-License-Identifier: Apache-2.0
#include "serve/blocks.h"

#include <algorithm>
#include <utility>

namespace braid::serve {

void Blocks::take(const parse::Delta& delta, BlockListener* listener) {
  if (!delta.reasoning.empty()) add(Block::Kind::kReasoning, delta.reasoning, listener);
  if (!delta.content.empty()) add(Block::Kind::kText, delta.content, listener);
  for (const parse::CallDelta& call : delta.calls) {
    if (!call.name.empty()) begin({Block::Kind::kCall, {}, call.id, call.name}, listener);
    if (!call.arguments.empty()) add(Block::Kind::kCall, call.arguments, listener);
  }
}

void Blocks::finish(BlockListener* listener) {
  if (open_ && listener) listener->end(blocks_.back(), blocks_.size() - 1);
  open_ = false;
}

bool Blocks::has_calls() const {
  return std::any_of(blocks_.begin(), blocks_.end(), [](const Block& block) { return block.kind == Block::Kind::kCall; });
}

std::string Blocks::text_of(Block::Kind kind) const {
  std::string text;
  for (const Block& block : blocks_) text += block.kind == kind ? block.text : "";
  return text;
}

void Blocks::add(Block::Kind kind, std::string_view text, BlockListener* listener) {
  if (!open_ || blocks_.back().kind != kind) begin({kind, {}, {}, {}}, listener);
  blocks_.back().text += text;
  if (listener) listener->add(blocks_.back(), blocks_.size() - 1, text);
}

void Blocks::begin(Block block, BlockListener* listener) {
  finish(listener);
  blocks_.push_back(std::move(block));
  open_ = true;
  if (listener) listener->begin(blocks_.back(), blocks_.size() - 1);
}

}  // namespace braid::serve
