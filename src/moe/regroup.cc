// SPDX-License-Identifier: Apache-2.0
#include "moe/regroup.h"

#include <cstring>

namespace braid::moe {
namespace {

// Experts held, by layer: for each layer a count and then the numbers, all int32.
std::string holdings(std::span<Layer* const> layers) {
  std::string text;
  const auto add = [&](std::int32_t v) { text.append(reinterpret_cast<const char*>(&v), sizeof v); };
  for (const Layer* layer : layers) {
    const auto held = layer->held();
    add(static_cast<std::int32_t>(held.size()));
    for (const std::int32_t e : held) add(e);
  }
  return text;
}

Result<std::vector<std::vector<std::int32_t>>> parse_holdings(const std::string& text, std::size_t layers, std::size_t rank) {
  std::vector<std::vector<std::int32_t>> all;
  std::size_t at = 0;
  const auto next = [&](std::int32_t& v) {
    if (text.size() - at < sizeof v) return false;
    std::memcpy(&v, text.data() + at, sizeof v);
    at += sizeof v;
    return true;
  };
  for (std::int32_t count = 0; all.size() < layers && next(count);) {
    auto& held = all.emplace_back();
    for (std::int32_t i = 0, e = 0; i < count && next(e); ++i) held.push_back(e);
  }
  if (all.size() == layers && at == text.size()) return all;
  return internal_error("rank " + std::to_string(rank) + " of the group has a model with other layers; all ranks must load the same one");
}

}  // namespace

Status regroup(std::span<Layer* const> layers, Workspace& workspace, const ExpertParallel& group, Stream& stream) {
  ASSIGN_OR_RETURN(const auto texts, group.bootstrap->all_gather(holdings(layers)));
  std::vector<std::vector<std::vector<std::int32_t>>> held(layers.size());  // by layer, rank
  for (std::size_t r = 0; r < texts.size(); ++r) {
    ASSIGN_OR_RETURN(auto theirs, parse_holdings(texts[r], layers.size(), r));
    for (std::size_t l = 0; l < layers.size(); ++l) held[l].push_back(std::move(theirs[l]));
  }
  for (std::size_t l = 0; l < layers.size(); ++l) {
    RETURN_IF_ERROR(layers[l]->place(Placement::around(workspace.shape.experts, held[l], group.redundant_experts), group.bootstrap->rank()));
  }
  for (Workspace* half = &workspace; half; half = half->other.get()) {
    ASSIGN_OR_RETURN(auto prepare, make_prepare(half->shape, &group, nullptr, layers.front()->parts().combine_kernel, stream));
    half->use(std::move(prepare));
  }
  workspace.slot_rows.reset();
  if (group.balanced && !stream.unified()) workspace.slot_rows = std::make_unique<SlotRows>(layers.size(), layers.front()->slots().size(), stream);
  for (std::size_t l = 0; l < layers.size(); ++l) layers[l]->count_in(workspace.slot_rows.get(), l);
  return Status::success();
}

}  // namespace braid::moe
