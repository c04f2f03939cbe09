// SPDX-License-Identifier: Apache-2.0
#include "router/plugin.h"

#include <algorithm>

#include "config/suggest.h"
#include "metrics/metrics.h"

namespace braid::router {

std::uint64_t Random::next() {
  std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

double Random::uniform() { return (static_cast<double>(next() >> 11) + 0.5) * 0x1p-53; }

const PrefixMatch& PrefixProducer::match(Context& context) {
  RequestData& data = context.data;
  PrefixMatch& match = data.prefixes[index];
  if (data.looked_up[index]) return match;
  data.looked_up[index] = true;
  match.blocks.assign(context.endpoints.size(), 0);
  match.weighted.assign(context.endpoints.size(), 0);
  look_up(context, match);
  return match;
}

namespace {

class Stopwatch {
 public:
  Stopwatch(const Context& context, metrics::Histogram* spent) : clock_(spent == nullptr ? nullptr : context.clock), spent_(spent) {
    if (clock_ != nullptr) start_ = clock_->now();
  }
  ~Stopwatch() {
    if (clock_ != nullptr) spent_->observe(to_seconds(clock_->now() - start_));
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  const Clock* const clock_;
  metrics::Histogram* const spent_;
  TimePoint start_{};
};

std::vector<EndpointIndex> pick_from(const Profile& profile, Context& context, const ProfileTrace& trace) {
  const Stopwatch stopwatch(context, profile.picker_spent);
  return profile.picker->pick(context, trace.scored, trace.totals);
}

void run_filter(const Profile::Named& named, Context& context, std::vector<EndpointIndex>& candidates, std::string& note) {
  const Stopwatch stopwatch(context, named.spent);
  named.filter->filter(context, candidates, note);
}

void run_scorer(const Profile::Weighted& weighted, Context& context, std::span<const EndpointIndex> candidates, std::span<double> scores) {
  const Stopwatch stopwatch(context, weighted.spent);
  weighted.scorer->score(context, candidates, scores);
}

void run_filters(const Profile& profile, Context& context, std::vector<EndpointIndex>& candidates, ProfileTrace& trace) {
  std::vector<EndpointIndex> before;
  for (const Profile::Named& filter : profile.filters) {
    before = candidates;
    FilterTrace& step = trace.filters.emplace_back();
    step.name = filter.name;
    run_filter(filter, context, candidates, step.note);
    if (candidates.size() == before.size()) continue;
    auto kept = candidates.begin();
    for (const EndpointIndex index : before) {
      if (kept != candidates.end() && *kept == index) {
        ++kept;
      } else {
        step.removed.push_back(index);
      }
    }
    if (!candidates.empty()) continue;
    context.emptied_by_load = filter.filter->by_load();
    return;
  }
}

void run_scorers(const Profile& profile, Context& context, ProfileTrace& trace) {
  trace.totals.assign(trace.scored.size(), 0);
  trace.scorers.reserve(profile.scorers.size());
  for (const Profile::Weighted& weighted : profile.scorers) {
    ScorerTrace& step = trace.scorers.emplace_back();
    step.name = weighted.name;
    step.weight = weighted.weight;
    step.scores.assign(trace.scored.size(), 0);
    run_scorer(weighted, context, trace.scored, step.scores);
    for (std::size_t i = 0; i < step.scores.size(); ++i) {
      const double score = step.scores[i];
      step.scores[i] = score >= 0 ? std::min(score, 1.0) : 0;  // not a number counts as 0
      trace.totals[i] += weighted.weight * step.scores[i];
    }
  }
}

}  // namespace

ProfileTrace run_profile(const Profile& profile, Context& context, bool pick) {
  ProfileTrace trace;
  context.emptied_by_load = false;
  trace.name = profile.name;
  trace.picker = profile.picker_name;
  trace.scored.assign(context.candidates.begin(), context.candidates.end());
  run_filters(profile, context, trace.scored, trace);
  if (trace.scored.empty()) {
    trace.note = "no endpoint is left";
    return trace;
  }
  run_scorers(profile, context, trace);
  if (pick) trace.picked = pick_from(profile, context, trace);
  return trace;
}

Plugin* Plugins::find(std::string_view name) const {
  for (const auto& plugin : all_) {
    if (plugin->name == name) return plugin.get();
  }
  return nullptr;
}

Error Plugins::missing(const Plugin& user, std::string_view field, const std::string& name) const {
  if (find(name) != nullptr) {
    return user.parameters.error("plugin '" + name + "' is a " + find(name)->type + ", which cannot be used here", field);
  }
  std::vector<std::string> names;
  for (const auto& plugin : all_) names.push_back(plugin->name);
  const std::string near = config::nearest(name, names);
  return user.parameters.error("there is no plugin '" + name + "'" + (near.empty() ? "; add it to plugins" : "; did you mean '" + near + "'?"),
                               field);
}

Error Plugins::ambiguous(const Plugin& user, std::string_view field) const {
  return user.parameters.error("plugin '" + user.name + "' could use several producers; name one in " + std::string(field));
}

}  // namespace braid::router
