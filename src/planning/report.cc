// SPDX-License-Identifier: Apache-2.0
#include "planning/report.h"

#include <algorithm>
#include <cmath>

namespace braid::planning {

double percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const auto at = std::min(values.size() - 1, static_cast<std::size_t>(share * static_cast<double>(values.size())));
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(at), values.end());
  return values[at];
}

Summary summarize(const ClusterOutcome& outcome, const Layout& layout, const Objectives& objectives) {
  Summary s;
  std::vector<double> first, between;
  double met = 0;
  for (const RequestOutcome& request : outcome.requests) {
    if (!request.finished) continue;
    first.push_back(request.first_token);
    between.push_back(request.token_time);
    met += request.first_token <= objectives.first_token && request.token_time <= objectives.token_time;
  }
  const double shares[] = {0.5, 0.9, 0.99};
  for (int i = 0; i < 3; ++i) {
    s.first_token[i] = percentile(first, shares[i]);
    s.token_time[i] = percentile(between, shares[i]);
  }
  s.attainment = outcome.requests.empty() ? 0 : met / static_cast<double>(outcome.requests.size());
  const double seconds = std::max(outcome.seconds, 1e-9);
  s.requests_per_s = static_cast<double>(first.size()) / seconds;
  s.output_per_s = static_cast<double>(outcome.output_tokens) / seconds;
  s.hit_rate = outcome.input_tokens > 0 ? static_cast<double>(outcome.cached_tokens) / static_cast<double>(outcome.input_tokens) : 0;
  double rank_seconds = 0;
  for (int r = 0; r < kRoles; ++r) {
    const auto role = static_cast<Role>(r);
    if (!layout.of(role)) continue;
    const RoleOutcome& of = outcome.of(role);
    rank_seconds += of.group_seconds * layout.of(role)->ranks;
    const double share = of.group_seconds > 0 ? of.busy_seconds / of.group_seconds : 0;
    if (share < s.busiest_share) continue;
    s.busiest = role;
    s.busiest_share = share;
    s.limit = of.time.limit();
  }
  s.rank_hours = rank_seconds / 3600;
  s.output_per_rank_s = rank_seconds > 0 ? static_cast<double>(outcome.output_tokens) / rank_seconds : 0;
  return s;
}

std::vector<Projection> project(const ModelShape& model, const CostTable& costs, const Choices& choices, const std::vector<int>& widths, int batch,
                                double context) {
  std::vector<Projection> rows;
  for (const int ranks : widths) {
    Projection row{.ranks = ranks, .context = context, .overlapped = choices.dbo, .weight_bytes = rank_weight_bytes(model, ranks)};
    const auto group = group_model(model, costs, choices, Role::kDecode, ranks);
    row.fits = group.ok();
    if (row.fits) {
      const RankOptions& rank = group->rank;
      row.cache_tokens = static_cast<double>(rank.blocks) * rank.block_size;
      row.batch = std::min(batch, static_cast<int>(row.cache_tokens / (context + 1)));
      const double tokens = row.batch * (1.0 + rank.drafts);
      row.time = step_time(model, group->rates, group->exchange, {.decode_rows = tokens, .decode_keys = tokens * context, .logits = tokens}, tokens * ranks);
      row.tokens_per_s = row.batch * rank.tokens_per_step / row.time.seconds();
    }
    rows.push_back(row);
  }
  return rows;
}

}  // namespace braid::planning
