// SPDX-License-Identifier: Apache-2.0
#include "engine/speculation/make.h"

#include <algorithm>

#include "base/log.h"
#include "engine/speculation/mtp_drafter.h"
#include "engine/speculation/ngram_drafter.h"

namespace braid::engine {
namespace {

constexpr int kLookup = 5;
constexpr std::int32_t kContext = 256;
constexpr Duration kMeasuringTime = std::chrono::milliseconds(1500);
constexpr Duration kSharedMeasuringTime = std::chrono::milliseconds(500);  // in a step, and when a rank joins again

struct Lookup {
  int shortest;
  int longest;
};

Lookup lookup_of(const SpeculativeSettings& s) {
  return {s.prompt_lookup_min.value_or(s.prompt_lookup_max.value_or(kLookup)),
          s.prompt_lookup_max.value_or(s.prompt_lookup_min.value_or(kLookup))};
}

std::unique_ptr<Drafter> make_drafter(const SpeculativeSettings& s, const SpeculationParts& parts) {
  if (s.uses_draft_module()) return std::make_unique<MtpDrafter>(parts.model->draft_module(), parts.cache);
  const Lookup lookup = lookup_of(s);
  return std::make_unique<NgramDrafter>(lookup.shortest, lookup.longest);
}

CostLimits cost_limits(const Settings& settings, const SpeculationParts& parts) {
  CostLimits limits;
  limits.rows = std::min(settings.scheduler.max_num_seqs * (1 + settings.speculation.tokens()), settings.scheduler.max_num_batched_tokens);
  limits.context = std::min(kContext, parts.max_model_len - 1);
  limits.time = parts.shared ? kSharedMeasuringTime : kMeasuringTime;
  return limits;
}

// Goes on until the time of every rank is spent.
CostLimits shared_limits(CostLimits limits, Lockstep& lockstep) {
  limits.agree = [&lockstep](bool spent) -> Result<bool> {
    ASSIGN_OR_RETURN(const Agreement agreed, lockstep.agree({.wants_costs = !spent}));
    return !agreed.costs;
  };
  return limits;
}

void announce(const Settings& settings, const Pace& pace) {
  const SpeculativeSettings& s = settings.speculation;
  log_info("speculative decoding",
           {{"method", *s.method},
            {"num_speculative_tokens", s.tokens()},
            {"tokens_by_sequences", pace.describe(static_cast<std::size_t>(settings.scheduler.max_num_seqs))}});
}

}  // namespace

Status check_speculation(const SpeculativeSettings& s) {
  const bool details = s.num_speculative_tokens || s.prompt_lookup_min || s.prompt_lookup_max || s.disable_by_batch_size;
  if (!s.enabled() && details) {
    return invalid_argument("speculative-config has no method; set it to mtp or ngram", "speculative-config.method");
  }
  if (s.enabled() && !s.uses_draft_module() && !s.num_speculative_tokens) {
    return invalid_argument("speculative-config: ngram needs num_speculative_tokens", "speculative-config.num-speculative-tokens");
  }
  const Lookup lookup = lookup_of(s);
  if (lookup.shortest <= lookup.longest) return {};
  return invalid_argument("speculative-config: prompt_lookup_min " + std::to_string(lookup.shortest) +
                              " is above prompt_lookup_max " + std::to_string(lookup.longest),
                          "speculative-config.prompt-lookup-min");
}

Result<std::unique_ptr<Speculation>> make_speculation(const Settings& settings, const SpeculationParts& parts) {
  const SpeculativeSettings& s = settings.speculation;
  if (!s.enabled()) return std::unique_ptr<Speculation>();
  CHECK(!s.uses_draft_module() || parts.model->draft_module() != nullptr, "the model was built without its draft module");
  const int most = s.tokens();
  const bool fixed = s.disable_by_batch_size.has_value();
  const CostLimits limits = cost_limits(settings, parts);
  Pace pace(most, static_cast<std::size_t>(s.disable_by_batch_size.value_or(0)));
  if (!fixed && !parts.shared) {
    ASSIGN_OR_RETURN(Costs costs, measure_costs(*parts.model, *parts.cache, limits, *parts.clock));
    pace.learn(std::move(costs));
  }
  if (fixed || !parts.shared) announce(settings, pace);
  auto speculation = std::make_unique<Speculation>(make_drafter(s, parts), pace, parts.max_model_len, parts.metrics);
  if (fixed || !parts.shared) return speculation;
  speculation->measure_with([settings, parts, limits, most](Lockstep& lockstep) -> Result<Costs> {
    ASSIGN_OR_RETURN(Costs costs, measure_costs(*parts.model, *parts.cache, shared_limits(limits, lockstep), *parts.clock));
    announce(settings, Pace(most, costs));
    return costs;
  });
  return speculation;
}

}  // namespace braid::engine
