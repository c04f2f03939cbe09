// SPDX-License-Identifier: Apache-2.0
#include "router/handlers/disaggregate.h"

#include <algorithm>

#include "router/handlers/targets.h"
#include "router/prefix_of.h"
#include "router/topology.h"

namespace braid::router {

bool AlwaysDecider::disaggregate(Context&, std::string& reason) {
  reason = "always";
  return true;
}

Status PrefixDecider::connect(Plugins& plugins) {
  return connect_prefixes(plugins, *this, parameters_.producer, prefixes_);
}

bool PrefixDecider::disaggregate(Context& context, std::string& reason) {
  const std::int64_t least = parameters_.non_cached_tokens;
  const std::int64_t tokens = context.request.prompt_tokens();
  if (least == 0) {
    reason = "nonCachedTokens is 0, which turns it off";
    return false;
  }
  if (tokens < parameters_.prompt_tokens) {
    reason = std::to_string(tokens) + " prompt tokens are fewer than promptTokens, " + std::to_string(parameters_.prompt_tokens);
    return false;
  }
  std::int64_t cached = 0;
  std::string where;
  if (context.decode_pick >= 0) {
    cached = prefixes_->match(context).cached_tokens(static_cast<std::size_t>(context.decode_pick));
    where = " on " + context.at(context.decode_pick).id.name;
  }
  const std::int64_t rest = std::max<std::int64_t>(tokens - cached, 0);
  reason = std::to_string(rest) + " of " + std::to_string(tokens) + " prompt tokens are not cached" + where + "; nonCachedTokens is " + std::to_string(least);
  return rest >= least;
}

Status DisaggregatingHandler::connect(Plugins& plugins) {
  if (!parameters_.profiles.encode.empty() || !parameters_.deciders.encode.empty()) {
    return parameters.error("a separate encode stage is not available: media are encoded where they are prefilled", "profiles");
  }
  decider_name_ = parameters_.deciders.prefill.empty() ? parameters_.decider : parameters_.deciders.prefill;
  if (decider_name_.empty()) {
    ASSIGN_OR_RETURN(decider_, plugins.only<Decider>(*this, "deciders.prefill", [] {
      auto made = std::make_unique<AlwaysDecider>(NoParameters{});
      made->name = made->type = "always-disagg-pd-decider";
      return made;
    }));
    decider_name_ = dynamic_cast<Plugin*>(decider_)->name;
    return {};
  }
  ASSIGN_OR_RETURN(decider_, plugins.require<Decider>(*this, parameters_.decider.empty() ? "deciders" : "deciderPluginName", decider_name_));
  return {};
}

Status DisaggregatingHandler::use(std::span<const Profile> profiles) {
  ASSIGN_OR_RETURN(decode_, profile_named(profiles, parameters_.profiles.decode, *this, "profiles"));
  ASSIGN_OR_RETURN(prefill_, profile_named(profiles, parameters_.profiles.prefill, *this, "profiles"));
  if (decode_ == prefill_) return parameters.error("decode and prefill need a profile each", "profiles");
  if (decode_->pairs != nullptr) return parameters.error("a pair scorer belongs into the prefill profile, not into '" + decode_->name + "'");
  return {};
}

void DisaggregatingHandler::run(Context& context, Decision& decision) {
  decision.disaggregation.decider = decider_name_;
  if (prefill_->pairs != nullptr) return run_pairs(context, decision);
  run_in_order(context, decision);
}

bool DisaggregatingHandler::approved(Context& context, Decision& decision) {
  DisaggregationTrace& trace = decision.disaggregation;
  context.decode_pick = decision.decode.front().index;
  if (decider_->disaggregate(context, trace.reason)) return true;
  trace.outcome = Disaggregation::kDeclined;
  return false;
}

void DisaggregatingHandler::take_prefill(Context& context, Decision& decision, const ProfileTrace& trace) {
  decision.prefill = targets_of(context, trace.picked);
  if (!decision.prefill.empty()) {
    decision.disaggregation.outcome = Disaggregation::kChosen;
    return;
  }
  decision.disaggregation.outcome = Disaggregation::kNoEndpoint;
  if (parameters_.on_missing == "fail") {
    decision.refusal = nothing_picked(context, prefill_->name);
    return;
  }
  decision.disaggregation.reason += "; no endpoint can prefill, so it is done where it is decoded";
}

void DisaggregatingHandler::run_in_order(Context& context, Decision& decision) {
  const bool prefill_first = parameters_.stage_order == "prefill-first";
  ProfileTrace early;
  if (prefill_first) early = run_profile(*prefill_, context);
  ProfileTrace decode = run_profile(*decode_, context);
  decision.decode = targets_of(context, decode.picked);
  decision.profiles.push_back(std::move(decode));
  if (decision.decode.empty()) {
    decision.refusal = nothing_picked(context, decode_->name);
    return;
  }
  if (!approved(context, decision)) return;
  decision.profiles.push_back(prefill_first ? std::move(early) : run_profile(*prefill_, context));
  take_prefill(context, decision, decision.profiles.back());
}

void DisaggregatingHandler::run_pairs(Context& context, Decision& decision) {
  decision.profiles.push_back(run_profile(*decode_, context));
  decision.decode = targets_of(context, decision.profiles[0].picked);
  if (decision.decode.empty()) {
    decision.refusal = nothing_picked(context, decode_->name);
    return;
  }
  if (!approved(context, decision)) return;
  decision.profiles.push_back(run_profile(*prefill_, context, false));
  ProfileTrace& decode = decision.profiles[0];
  ProfileTrace& prefill = decision.profiles[1];
  if (prefill.scored.empty()) return take_prefill(context, decision, prefill);
  const std::size_t width = decode.scored.size();
  std::vector<double> scores(prefill.scored.size() * width);
  prefill_->pairs->score(context, prefill.scored, decode.scored, scores);
  std::size_t best = 0, ties = 0;
  double most = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    scores[i] = std::clamp(scores[i], 0.0, 1.0);
    const double total = decode.totals[i % width] + prefill.totals[i / width] + prefill_->pair_weight * scores[i];
    if (ties == 0 || total > most) {
      best = i;
      most = total;
      ties = 1;
    } else if (total == most && context.random.below(++ties) == 0) {
      best = i;
    }
  }
  decode.picked = {decode.scored[best % width]};
  prefill.picked = {prefill.scored[best / width]};
  prefill.picker = prefill_->pair_name;
  decode.note = prefill.note = "chosen as a pair by " + prefill_->pair_name + ": pair score " + std::to_string(scores[best]) + ", weight " +
                               std::to_string(prefill_->pair_weight);
  decision.decode = targets_of(context, decode.picked);
  take_prefill(context, decision, prefill);
}

OldDisaggregatingHandler::OldDisaggregatingHandler(Parameters parameters)
    : DisaggregatingHandler({.profiles = {parameters.decode, parameters.prefill, ""}, .deciders = {}, .decider = parameters.decider}),
      own_(std::make_unique<PrefixDecider>(PrefixDecider::Parameters{.non_cached_tokens = parameters.threshold})) {}

Status OldDisaggregatingHandler::connect(Plugins& plugins) {
  if (!parameters_.decider.empty()) return DisaggregatingHandler::connect(plugins);
  own_->name = own_->type = "prefix-based-pd-decider";
  RETURN_IF_ERROR(own_->connect(plugins));
  decider_ = own_.get();
  decider_name_ = "threshold";
  return {};
}

Status TransferTimeScorer::connect(Plugins& plugins) {
  RETURN_IF_ERROR(connect_prefixes(plugins, *this, parameters_.prefixes, prefixes_));
  return connect_in_flight(plugins, *this, parameters_.in_flight, load_);
}

void TransferTimeScorer::score(Context& context,
                               std::span<const EndpointIndex> prefills,
                               std::span<const EndpointIndex> decodes,
                               std::span<double> scores) {
  const PrefixMatch& match = prefixes_->match(context);
  const std::int64_t prompt = context.request.prompt_tokens();
  for (std::size_t p = 0; p < prefills.size(); ++p) {
    const auto at = static_cast<std::size_t>(prefills[p]);
    const std::int64_t compute = load_->tokens(context.slots[at]) + std::max<std::int64_t>(prompt - match.cached_tokens(at), 0);
    for (std::size_t d = 0; d < decodes.size(); ++d) {
      const std::int64_t moved = std::max<std::int64_t>(prompt - match.cached_tokens(static_cast<std::size_t>(decodes[d])), 0);
      const bool near = nearness(context.at(prefills[p]), context.at(decodes[d])) >= 1;
      scores[p * decodes.size() + d] = static_cast<double>(compute) / parameters_.prefill_rate +
                                       static_cast<double>(moved) / (near ? parameters_.near_rate : parameters_.transfer_rate);
    }
  }
  const auto [low, high] = std::minmax_element(scores.begin(), scores.end());
  const double least = *low, most = *high;
  for (double& score : scores) score = most == least ? 1 : (most - score) / (most - least);
}

}  // namespace braid::router
