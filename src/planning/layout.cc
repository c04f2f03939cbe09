// SPDX-License-Identifier: Apache-2.0
#include "planning/layout.h"

#include <algorithm>
#include <cmath>
#include <regex>

namespace braid::planning {
namespace {

constexpr int kMostRanks = 4096;

Error not_a_layout(const std::string& text) {
  return invalid_argument("--layout: expected 4x8 (four groups of eight ranks) or 2x8P1x32D (prefill apart from decode), found '" + text + "'",
                          "layout");
}

std::string groups_text(const Groups& groups) { return std::to_string(groups.count) + "x" + std::to_string(groups.ranks); }

}  // namespace

std::string_view name_of(Role role) {
  constexpr std::string_view names[] = {"both", "prefill", "decode"};
  return names[static_cast<std::size_t>(role)];
}

const std::optional<Groups>& Layout::of(Role role) const {
  return role == Role::kBoth ? both : role == Role::kPrefill ? prefill : decode;
}
std::optional<Groups>& Layout::of(Role role) { return role == Role::kBoth ? both : role == Role::kPrefill ? prefill : decode; }

int Layout::ranks() const {
  int sum = 0;
  for (const auto& groups : {both, prefill, decode}) {
    if (groups) sum += groups->count * groups->ranks;
  }
  return sum;
}

Result<Layout> parse_layout(const std::string& text) {
  static const std::regex form("([0-9]{1,4})x([0-9]{1,4})(?:P([0-9]{1,4})x([0-9]{1,4})D)?");
  std::smatch found;
  if (!std::regex_match(text, found, form)) return not_a_layout(text);
  const auto number = [&](std::size_t i) { return std::stoi(found[i]); };
  Layout layout;
  if (found[3].matched) {
    layout.prefill = Groups{number(1), number(2)};
    layout.decode = Groups{number(3), number(4)};
  } else {
    layout.both = Groups{number(1), number(2)};
  }
  for (const auto& groups : {layout.both, layout.prefill, layout.decode}) {
    if (groups && (groups->count < 1 || groups->ranks < 1)) return not_a_layout(text);
  }
  if (layout.ranks() > kMostRanks) return invalid_argument("--layout: '" + text + "' has more than 4096 ranks", "layout");
  return layout;
}

std::string to_text(const Layout& layout) {
  return layout.divided() ? groups_text(*layout.prefill) + "P" + groups_text(*layout.decode) + "D" : groups_text(*layout.both);
}

double rank_weight_bytes(const ModelShape& m, int ranks) {
  const double mixtures = m.moe_layers, dense = m.layers - m.moe_layers;
  const double experts = std::ceil(m.experts / ranks) * m.expert * mixtures;
  return m.weight_bytes() * (m.attention * m.layers + m.dense * dense + m.shared * mixtures + experts) + 4 * m.head;
}

Result<GroupModel> group_model(const ModelShape& model, const CostTable& costs, const Choices& c, Role role, int ranks) {
  GroupModel group{.model = model, .rates = costs.rates, .exchange = {}, .rank = {}};
  group.exchange = {.ranks = ranks, .ranks_per_node = c.ranks_per_node, .node = costs.node, .fabric = costs.fabric,
                    .dispatch_bytes = model.fp8 && role != Role::kDecode ? 1.0 : 2.0,
                    .imbalance = ranks == 1 ? 1 : c.eplb ? c.balanced : c.imbalance, .overlapped = c.dbo};
  RankOptions& rank = group.rank;
  rank.block_size = static_cast<int>(c.block_size);
  const double room = costs.memory_bytes * c.gpu_memory - rank_weight_bytes(model, ranks);
  const double blocks = room / (model.cache_bytes() * c.block_size);
  if (blocks * c.block_size < 8192) {
    const auto gb = [](double bytes) { return std::to_string(static_cast<int>(std::lround(bytes / 1e9))) + " GB"; };
    return invalid_argument("weights of " + gb(rank_weight_bytes(model, ranks)) + " on each of " + std::to_string(ranks) + " ranks leave no room for a cache in " +
                            gb(costs.memory_bytes * c.gpu_memory) + ": spread the experts over more ranks", "layout");
  }
  rank.blocks = static_cast<std::int32_t>(std::min(blocks, 4e6));
  rank.limits.max_sequences = c.max_sequences;
  rank.limits.max_batched_tokens = c.max_batched_tokens;
  if (role == Role::kDecode) {
    rank.imports = true;
    rank.limits.max_batched_tokens = 1 << 24;  // imported prompts cost no step
  }
  if (role != Role::kPrefill) {
    rank.drafts = rank.limits.max_drafts = c.drafts;
    for (int i = 1; i <= c.drafts; ++i) rank.tokens_per_step += std::pow(c.acceptance, i);
  }
  return group;
}

}  // namespace braid::planning
