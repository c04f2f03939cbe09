// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <functional>

#include "router/catalog.h"
#include "router/in_flight.h"
#include "router/index/approximate.h"
#include "router/prefix_of.h"
#include "router/topology.h"

namespace braid::router {
namespace {

template <class Keep>
void keep_only(std::vector<EndpointIndex>& candidates, Keep&& keep) {
  candidates.erase(std::remove_if(candidates.begin(), candidates.end(), [&](EndpointIndex i) { return !keep(i); }), candidates.end());
}

// The same, but all stay where none would.
template <class Keep>
void keep_some(std::vector<EndpointIndex>& candidates, std::string& note, Keep&& keep) {
  std::vector<EndpointIndex> kept = candidates;
  keep_only(kept, keep);
  if (kept.empty()) {
    note = "none would be left, so all stay";
  } else {
    candidates = std::move(kept);
  }
}

template <bool Roles::*role>
class RoleFilter final : public Plugin, public Filter {
 public:
  using Parameters = NoParameters;
  explicit RoleFilter(Parameters) {}
  void filter(Context& context, std::vector<EndpointIndex>& candidates, std::string&) override {
    keep_only(candidates, [&](EndpointIndex i) { return roles_of(context.at(i).labels).*role; });
  }
};

class LabelSelectorFilter final : public Plugin, public Filter {
 public:
  struct Expression {
    std::string key, op;
    std::vector<std::string> values;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("key", self.key, {.help = "Label"});
      v.field("operator", self.op, {.help = "In, NotIn, Exists or DoesNotExist", .choices = {"In", "NotIn", "Exists", "DoesNotExist"}});
      v.field("values", self.values, {.help = "Of In and NotIn"});
    }
  };
  struct Parameters {
    std::map<std::string, std::string> labels;
    std::vector<Expression> expressions;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.strings("matchLabels", self.labels, "Labels and their values, all of which must fit");
      v.list("matchExpressions", self.expressions, "Expressions, all of which must hold");
    }
  };
  explicit LabelSelectorFilter(Parameters parameters) : parameters_(std::move(parameters)) {}

  Status connect(Plugins&) override {
    for (const Expression& e : parameters_.expressions) {
      const bool listed = e.op == "In" || e.op == "NotIn";
      if (e.key.empty() || e.op.empty()) return parameters.error("an expression needs key and operator", "matchExpressions");
      if (listed == e.values.empty()) {
        return parameters.error("operator " + e.op + (listed ? " needs values" : " takes no values"), "matchExpressions");
      }
    }
    return {};
  }
  void filter(Context& context, std::vector<EndpointIndex>& candidates, std::string&) override {
    keep_only(candidates, [&](EndpointIndex i) { return fits(context.at(i).labels); });
  }

 private:
  bool fits(const Labels& labels) const {
    for (const auto& [key, value] : parameters_.labels) {
      const auto found = labels.find(key);
      if (found == labels.end() || found->second != value) return false;
    }
    return std::all_of(parameters_.expressions.begin(), parameters_.expressions.end(), [&](const Expression& e) {
      const auto found = labels.find(e.key);
      const bool present = found != labels.end();
      if (e.op == "Exists") return present;
      if (e.op == "DoesNotExist") return !present;
      const bool listed = present && std::find(e.values.begin(), e.values.end(), found->second) != e.values.end();
      return listed == (e.op == "In");
    });
  }

  Parameters parameters_;
};

class ByLabelFilter final : public Plugin, public Filter {
 public:
  struct Parameters {
    std::string label;
    std::vector<std::string> values;
    bool allows_none = false;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("label", self.label, {.help = "Label"});
      v.field("validValues", self.values, {.help = "Values that pass"});
      v.field("allowsNoLabel", self.allows_none, {.help = "Endpoints without the label pass too"});
    }
  };
  explicit ByLabelFilter(Parameters parameters) : parameters_(std::move(parameters)) {}

  Status connect(Plugins&) override { return parameters_.label.empty() ? Status(parameters.error("label is missing")) : Status(); }
  void filter(Context& context, std::vector<EndpointIndex>& candidates, std::string&) override {
    keep_only(candidates, [&](EndpointIndex i) {
      const Labels& labels = context.at(i).labels;
      const auto found = labels.find(parameters_.label);
      if (found == labels.end()) return parameters_.allows_none;
      return std::find(parameters_.values.begin(), parameters_.values.end(), found->second) != parameters_.values.end();
    });
  }

 private:
  Parameters parameters_;
};

// Keeps those that have most of the prompt cached, unless waiting there would take much longer.
class PrefixAffinityFilter final : public Plugin, public Filter {
 public:
  struct Parameters {
    double threshold = 0.8;
    double exploration = 0;
    double max_penalty_ms = 18000;
    std::string source = "prefillThroughput";
    double throughput = 15928;
    std::string prefixes, in_flight;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("affinityThreshold", self.threshold, {.help = "Cached share of the prompt that keeps an endpoint", .min = 0, .max = 1});
      v.field("explorationProbability", self.exploration, {.help = "How often all are kept all the same", .min = 0, .max = 1});
      v.field("maxTTFTPenaltyMs", self.max_penalty_ms, {.help = "All are kept when the first token would come so much later there", .unit = "ms", .min = 0});
      v.field("ttftSource", self.source, {.help = "prefillThroughput; latencyPredictor is not available", .choices = {"prefillThroughput"}});
      v.field("peakPrefillThroughput", self.throughput, {.help = "Speed of prefill", .unit = "tokens/s", .min = 1});
      v.field("prefixMatchInfoProducerName", self.prefixes, {.help = "Which producer tells what is cached"});
      v.field("inFlightLoadProducerName", self.in_flight, {.help = "Which inflight-load-producer counts"});
    }
  };
  explicit PrefixAffinityFilter(Parameters parameters) : parameters_(std::move(parameters)) {}

  Status connect(Plugins& plugins) override {
    RETURN_IF_ERROR(connect_prefixes(plugins, *this, parameters_.prefixes, prefixes_));
    return connect_in_flight(plugins, *this, parameters_.in_flight, load_);
  }

  void filter(Context& context, std::vector<EndpointIndex>& candidates, std::string& note) override {
    const PrefixMatch& match = prefixes_->match(context);
    std::vector<EndpointIndex> sticky, others;
    for (const EndpointIndex i : candidates) {
      (match.ratio(static_cast<std::size_t>(i)) >= parameters_.threshold ? sticky : others).push_back(i);
    }
    if (sticky.empty() || others.empty()) return;
    if (parameters_.exploration > 0 && context.random.uniform() < parameters_.exploration) {
      note = "explores";
      return;
    }
    if (soonest_ms(context, sticky) - soonest_ms(context, others) > parameters_.max_penalty_ms) {
      note = "those with the prefix are too busy";
      return;
    }
    candidates = std::move(sticky);
  }

 private:
  double soonest_ms(const Context& context, const std::vector<EndpointIndex>& endpoints) const {
    std::int64_t least = INT64_MAX;
    for (const EndpointIndex i : endpoints) least = std::min(least, load_->tokens(context.slot(i)));
    return static_cast<double>(least) / parameters_.throughput * 1000;
  }

  Parameters parameters_;
  PrefixProducer* prefixes_ = nullptr;
  InFlightLoad* load_ = nullptr;
};

class UtilizationFilter final : public Plugin, public Filter {
 public:
  struct Condition {
    std::string metric;
    double most = 0;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("metric", self.metric, {.help = "active-requests, running-requests, waiting-queue or kv-cache-utilization", .choices = {"active-requests", "running-requests", "waiting-queue", "kv-cache-utilization"}});
      v.field("maxValue", self.most, {.help = "Largest value that passes", .min = 0});
    }
  };
  struct Parameters {
    std::vector<Condition> conditions;
    bool fallback = false;
    std::string in_flight;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.list("conditions", self.conditions, "All of which must hold; an unknown value holds");
      v.field("fallbackOnEmpty", self.fallback, {.help = "Keep all when none would be left"});
      v.field("inFlightLoadProducerName", self.in_flight, {.help = "Which inflight-load-producer counts"});
    }
  };
  explicit UtilizationFilter(Parameters parameters) : parameters_(std::move(parameters)) {}

  Status connect(Plugins& plugins) override {
    for (const Condition& condition : parameters_.conditions) {
      if (condition.metric.empty()) return parameters.error("a condition needs a metric", "conditions");
    }
    return connect_in_flight(plugins, *this, parameters_.in_flight, load_);
  }
  void filter(Context& context, std::vector<EndpointIndex>& candidates, std::string& note) override {
    const auto keep = [&](EndpointIndex i) {
      return std::all_of(parameters_.conditions.begin(), parameters_.conditions.end(), [&](const Condition& condition) {
        return value_of(context, i, condition.metric).value_or(condition.most) <= condition.most;
      });
    };
    if (parameters_.fallback) return keep_some(candidates, note, keep);
    keep_only(candidates, keep);
  }
  bool by_load() const override { return true; }

 private:
  std::optional<double> value_of(const Context& context, EndpointIndex i, const std::string& metric) const {
    const EndpointState& state = context.at(i).state;
    if (metric == "active-requests") return static_cast<double>(load_->requests(context.slot(i)));
    if (metric == "running-requests") return state.running;
    return metric == "waiting-queue" ? state.waiting : state.kv_usage;
  }

  Parameters parameters_;
  InFlightLoad* load_ = nullptr;
};

class AttributeFilter final : public Plugin, public Filter {
 public:
  struct Parameters {
    std::string key, producer, on_missing = "Pass";
    bool fallback = false;
    std::optional<double> gt, ge, lt, le, eq;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("attributeKey", self.key, {.help = "Attribute of endpoints, from customMetrics"});
      v.field("producer", self.producer, {.help = "What sets it; not needed"});
      v.field("greaterThan", self.gt, {.help = "Passes above"});
      v.field("greaterThanOrEqual", self.ge, {.help = "Passes from there on"});
      v.field("lessThan", self.lt, {.help = "Passes below"});
      v.field("lessThanOrEqual", self.le, {.help = "Passes up to there"});
      v.field("equal", self.eq, {.help = "Passes at exactly"});
      v.field("onMissing", self.on_missing, {.help = "Pass or Fail, when an endpoint does not have it", .choices = {"Pass", "Fail"}});
      v.field("fallbackOnEmpty", self.fallback, {.help = "Keep all when none would be left"});
    }
  };
  explicit AttributeFilter(Parameters parameters) : parameters_(std::move(parameters)) {}

  Status connect(Plugins&) override { return parameters_.key.empty() ? Status(parameters.error("attributeKey is missing")) : Status(); }
  void filter(Context& context, std::vector<EndpointIndex>& candidates, std::string& note) override {
    const auto keep = [&](EndpointIndex i) {
      const auto& attributes = context.at(i).state.attributes;
      const auto found = attributes.find(parameters_.key);
      return found == attributes.end() ? parameters_.on_missing == "Pass" : passes(found->second);
    };
    if (parameters_.fallback) return keep_some(candidates, note, keep);
    keep_only(candidates, keep);
  }
  bool by_load() const override { return true; }

 private:
  bool passes(double value) const {
    const Parameters& p = parameters_;
    return (!p.gt || value > *p.gt) && (!p.ge || value >= *p.ge) && (!p.lt || value < *p.lt) && (!p.le || value <= *p.le) &&
           (!p.eq || value == *p.eq);
  }

  Parameters parameters_;
};

class TopologyFilter final : public Plugin, public Filter {
 public:
  struct Parameters {
    double least = 0.05;
    std::string producer;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("minAffinity", self.least, {.help = "Least nearness to the decode endpoint: host 1, rack 0.20, zone 0.05, region 0.02", .min = 0, .max = 1});
      v.field("topologyProducerName", self.producer, {.help = "What tells where endpoints are; their labels do"});
    }
  };
  explicit TopologyFilter(Parameters parameters) : parameters_(std::move(parameters)) {}

  void filter(Context& context, std::vector<EndpointIndex>& candidates, std::string& note) override {
    if (context.decode_pick < 0) {
      note = "no decode endpoint has been chosen yet, so all stay";
      return;
    }
    const Endpoint& decode = context.at(context.decode_pick);
    keep_some(candidates, note, [&](EndpointIndex i) { return nearness(context.at(i), decode) >= parameters_.least; });
  }

 private:
  Parameters parameters_;
};

constexpr PluginType kTypes[] = {
    plugin_type<RoleFilter<&Roles::decode>>("decode-filter", "Role decode, prefill-decode, both or encode-prefill-decode, or no role label."),
    plugin_type<RoleFilter<&Roles::prefill>>("prefill-filter", "Role prefill, encode-prefill, prefill-decode, both or encode-prefill-decode."),
    plugin_type<RoleFilter<&Roles::encode>>("encode-filter", "Role encode, encode-prefill or encode-prefill-decode."),
    plugin_type<LabelSelectorFilter>("label-selector-filter", "Labels as a Kubernetes selector."),
    plugin_type<LabelSelectorFilter>("by-label-selector", "Old name of label-selector-filter."),
    plugin_type<ByLabelFilter>("by-label", "Deprecated: one label with one of several values; use label-selector-filter."),
    plugin_type<PrefixAffinityFilter>("prefix-cache-affinity-filter", "Endpoints that have at least affinityThreshold of the prompt cached, unless all of them are so busy that another would answer sooner by maxTTFTPenaltyMs."),
    plugin_type<UtilizationFilter>("utilization-filter", "Endpoints whose load is within limits."),
    plugin_type<AttributeFilter>("endpoint-attribute-filter", "Endpoints whose attribute is within limits."),
    plugin_type<TopologyFilter>("topology-affinity-filter", "Endpoints near to the decode endpoint; all, if none is."),
};

}  // namespace

std::span<const PluginType> filters() { return kTypes; }

}  // namespace braid::router
