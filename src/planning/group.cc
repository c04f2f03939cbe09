// SPDX-License-Identifier: Apache-2.0
#include "planning/group.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace braid::planning {
namespace {

// By how much of itself the cache that a step reads may grow in one stretch.
constexpr double kGrowth = 0.1;

}  // namespace

Group::Group(const GroupModel& model, Role role, int number, prefix::BlockHasher* hasher) : model_(model), role_(role) {
  for (int i = 0; i < model.exchange.ranks; ++i) {
    ranks_.push_back(std::make_unique<Rank>(model.rank, hasher));
    names_.push_back(std::string(name_of(role)) + "-" + std::to_string(number) + "-rank-" + std::to_string(i));
  }
}

bool Group::idle() const {
  return std::all_of(ranks_.begin(), ranks_.end(), [](const auto& rank) { return rank->idle(); });
}

const Group::Stretch& Group::begin(double now) {
  stretch_ = {.begin = now};
  ++version_;
  std::int64_t steps = std::int64_t{1} << 30;
  bool any = false;
  for (const auto& rank : ranks_) {
    if (rank->idle()) continue;
    any = true;
    const RankWork& work = rank->work();
    stretch_.tokens += work.rows();
    stretch_.prompt_tokens += work.prefill_rows;
    steps = std::min(steps, rank->steady_steps());
    if (work.decode_rows > 0) steps = std::min(steps, 1 + static_cast<std::int64_t>(kGrowth * work.decode_keys / work.decode_rows));
  }
  if (!any) return stretch_;
  for (const auto& rank : ranks_) {
    if (rank->idle()) continue;
    RankWork work = rank->work();
    work.decode_keys += work.decode_rows * static_cast<double>(steps - 1) / 2;
    const StepTime time = step_time(model_.model, model_.rates, model_.exchange, work, stretch_.tokens);
    if (time.seconds() >= stretch_.time.seconds()) stretch_.time = time;
  }
  // A step of nothing but imported prompts takes no time, and is one.
  stretch_.steps = stretch_.time.seconds() > 0 ? steps : 1;
  return stretch_;
}

void Group::shorten(double now) {
  const double one = stretch_.time.seconds();
  if (one <= 0) return;
  const auto steps = std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil((now - stretch_.begin) / one - 1e-9)));
  if (steps >= stretch_.steps) return;
  stretch_.steps = steps;
  ++version_;
}

Group::Stretch Group::finish(Rank::Events& events) {
  const Stretch done = std::exchange(stretch_, {});
  for (const auto& rank : ranks_) {
    if (!rank->idle()) rank->advance(done.steps, events);
  }
  return done;
}

}  // namespace braid::planning
