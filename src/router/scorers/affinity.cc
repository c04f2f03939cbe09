// SPDX-License-Identifier: Apache-2.0
// Scores by what ties a request to an endpoint: adapter, session, length, place, labels, attributes.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "router/catalog.h"
#include "router/known.h"
#include "router/scorers/session.h"
#include "router/topology.h"

namespace braid::router {
namespace {

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

class AdapterScorer final : public Plugin, public Scorer {
 public:
  using Parameters = NoParameters;
  explicit AdapterScorer(Parameters) {}
  void score(Context& context, std::span<const EndpointIndex> candidates, std::span<double> scores) override {
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      const EndpointState& state = context.at(candidates[i]).state;
      const auto held = static_cast<int>(state.active_adapters.size() + state.waiting_adapters.size());
      if (contains(state.active_adapters, context.data.model)) {
        scores[i] = 1.0;
      } else if (held < state.max_adapters) {
        scores[i] = 0.8;
      } else {
        scores[i] = contains(state.waiting_adapters, context.data.model) ? 0.6 : 0;
      }
    }
  }
};

class LengthScorer final : public Plugin, public Scorer, public Filter {
 public:
  struct Parameters {
    std::string label = "llm-d.ai/context-length-range";
    bool filtering = false;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("label", self.label, {.help = "Label whose value is min-max, in tokens"});
      v.field("enableFiltering", self.filtering, {.help = "Remove endpoints out of whose range the prompt is"});
    }
  };
  explicit LengthScorer(Parameters parameters) : parameters_(std::move(parameters)) {}

  void score(Context& context, std::span<const EndpointIndex> candidates, std::span<double> scores) override {
    const auto length = static_cast<double>(context.request.prompt_tokens());
    for (std::size_t i = 0; i < candidates.size(); ++i) scores[i] = score_of(context.at(candidates[i]).label(parameters_.label), length);
  }

  void filter(Context& context, std::vector<EndpointIndex>& candidates, std::string& note) override {
    if (!parameters_.filtering) return;
    const auto length = static_cast<double>(context.request.prompt_tokens());
    std::vector<EndpointIndex> kept;
    for (const EndpointIndex i : candidates) {
      const std::string_view label = context.at(i).label(parameters_.label);
      const auto range = range_of(label);
      if (label.empty() || (range && length >= range->first && length <= range->second)) kept.push_back(i);
    }
    if (kept.empty()) {
      note = "the prompt is in nobody's range, so all stay";
    } else {
      candidates = std::move(kept);
    }
  }

 private:
  static std::optional<std::pair<double, double>> range_of(std::string_view text) {
    std::int64_t low = 0, high = 0;
    const char* end = text.data() + text.size();
    const auto first = std::from_chars(text.data(), end, low);
    if (first.ec != std::errc() || first.ptr == end || *first.ptr != '-') return std::nullopt;
    const auto second = std::from_chars(first.ptr + 1, end, high);
    if (second.ec != std::errc() || second.ptr != end || low < 0 || high < low) return std::nullopt;
    return std::pair(static_cast<double>(low), static_cast<double>(high));
  }

  static double score_of(std::string_view label, double length) {
    if (label.empty()) return 0.5;
    const auto range = range_of(label);
    if (!range) return 0;
    const auto [low, high] = *range;
    if (length < low || length > high) return 0.3 / (1 + (length < low ? low - length : length - high) / 1000);
    const double width = high - low;
    if (width == 0) return 1;
    return 0.3 + 0.7 * (0.7 / (1 + width / 10000) + 0.3 * (high - length) / width);
  }

  Parameters parameters_;
};

struct FixedRange {
  double low = 0, high = 1;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("min", self.low, {.help = "Value of one end"});
    v.field("max", self.high, {.help = "Value of the other"});
  }
};

class AttributeScorer final : public Plugin, public Scorer {
 public:
  struct Normalization {
    std::optional<NoParameters> adaptive;
    std::optional<FixedRange> fixed;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.optional("adaptiveRange", self.adaptive, "From the smallest to the largest value of the candidates; the default");
      v.optional("fixedRange", self.fixed, "A range that is given");
    }
  };
  struct Algorithm {
    std::string type = "linear_higher_is_better";
    Normalization normalization;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("type", self.type, {.help = "linear_lower_is_better or linear_higher_is_better", .choices = {"linear_lower_is_better", "linear_higher_is_better"}});
      v.object("normalization", self.normalization, "What is 0 and what is 1");
    }
  };
  struct Parameters {
    std::string key, producer;
    Algorithm algorithm;
    Normalization normalization;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("attributeKey", self.key, {.help = "Attribute of endpoints, from customMetrics"});
      v.field("producer", self.producer, {.help = "What sets it; not needed"});
      v.object("algorithm", self.algorithm, "How a value becomes a score");
      v.object("normalization", self.normalization, "The same as algorithm.normalization");
    }
  };
  explicit AttributeScorer(Parameters parameters) : parameters_(std::move(parameters)) {
    fixed_ = parameters_.normalization.fixed ? parameters_.normalization.fixed : parameters_.algorithm.normalization.fixed;
    lower_is_better_ = parameters_.algorithm.type == "linear_lower_is_better";
  }

  Status connect(Plugins&) override {
    if (parameters_.key.empty()) return parameters.error("attributeKey is missing");
    if (fixed_ && !(fixed_->low < fixed_->high)) return parameters.error("fixedRange needs min below max", "normalization");
    return {};
  }

  void score(Context& context, std::span<const EndpointIndex> candidates, std::span<double> scores) override {
    double low = INFINITY, high = -INFINITY;
    const auto value = [&](std::size_t i) -> std::optional<double> {
      const auto& attributes = context.at(candidates[i]).state.attributes;
      const auto found = attributes.find(parameters_.key);
      return found == attributes.end() ? std::nullopt : std::optional(found->second);
    };
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      if (const auto each = value(i)) low = std::min(low, *each), high = std::max(high, *each);
    }
    if (fixed_) low = fixed_->low, high = fixed_->high;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      const auto each = value(i);
      if (!each) {
        scores[i] = 0;
      } else if (low == high) {
        scores[i] = 1;
      } else {
        const double share = std::clamp((*each - low) / (high - low), 0.0, 1.0);
        scores[i] = lower_is_better_ ? 1 - share : share;
      }
    }
  }

 private:
  Parameters parameters_;
  std::optional<FixedRange> fixed_;
  bool lower_is_better_ = false;
};

class HeaderLabelScorer final : public Plugin, public Scorer {
 public:
  struct Parameters {
    std::string header, label;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("headerName", self.header, {.help = "Request header"});
      v.field("labelKey", self.label, {.help = "Label of endpoints that must have its value"});
    }
  };
  explicit HeaderLabelScorer(Parameters parameters) : parameters_(std::move(parameters)) { lower(parameters_.header); }

  Status connect(Plugins&) override {
    const bool whole = !parameters_.header.empty() && !parameters_.label.empty();
    return whole ? Status() : parameters.error("headerName and labelKey are needed");
  }
  void score(Context& context, std::span<const EndpointIndex> candidates, std::span<double> scores) override {
    const std::string_view value = context.request.header(parameters_.header);
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      scores[i] = !value.empty() && context.at(candidates[i]).label(parameters_.label) == value ? 1 : 0;
    }
  }

 private:
  Parameters parameters_;
};

class TopologyScorer final : public Plugin, public Scorer {
 public:
  struct Parameters {
    std::string producer;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("topologyProducerName", self.producer, {.help = "What tells where endpoints are; their labels do"});
    }
  };
  explicit TopologyScorer(Parameters) {}
  void score(Context& context, std::span<const EndpointIndex> candidates, std::span<double> scores) override {
    if (context.decode_pick < 0) return;
    for (std::size_t i = 0; i < candidates.size(); ++i) scores[i] = nearness(context.at(candidates[i]), context.at(context.decode_pick));
  }
};

constexpr PluginType kTypes[] = {
    plugin_type<AdapterScorer>("lora-affinity-scorer", "1 where the adapter is active, 0.8 where there is room for one more, 0.6 where it waits, else 0."),
    plugin_type<SessionScorer>("session-affinity-scorer", "1 for the endpoint that the session is pinned to, else 0."),
    plugin_type<SessionFilter>("session-affinity-filter", "Only the endpoint that the session is pinned to, if it is among the candidates."),
    plugin_type<SessionIds>("session-id-producer", "Reads a session id from a header or a cookie."),
    plugin_type<AgentIdentity>("agent-identity", "Fairness id from x-claude-code-session-id, x-session-affinity, session-id or session_id, when the request names none."),
    plugin_type<LengthScorer>("context-length-aware", "In the endpoint's range 0.3 + 0.7 * (0.7 / (1 + width / 10000) + 0.3 * (max - n) / width), 1 for a width of 0; out of it 0.3 / (1 + distance / 1000); 0.5 without a label, 0 for a bad one."),
    plugin_type<AttributeScorer>("endpoint-attribute-scorer", "An attribute, linear over its range; 1 if all are equal, 0 where it is missing."),
    plugin_type<HeaderLabelScorer>("header-label-affinity-scorer", "1 where the label has the header's value, else 0."),
    plugin_type<TopologyScorer>("topology-affinity-scorer", "Nearness to the decode endpoint: same host 1, rack 0.20, zone 0.05, region 0.02."),
};

}  // namespace

std::span<const PluginType> affinity_scorers() { return kTypes; }

}  // namespace braid::router
