// SPDX-License-Identifier: Apache-2.0
// Scores by how busy endpoints say they are, or the router knows them to be.
#include <algorithm>

#include "router/catalog.h"
#include "router/in_flight.h"
#include "router/known.h"

namespace braid::router {
namespace {

class SpanScorer : public Plugin, public Scorer {
 public:
  using Parameters = NoParameters;

  void score(Context& context, std::span<const EndpointIndex> candidates, std::span<double> scores) override {
    fill_known(candidates, scores, [&](EndpointIndex i) { return value(context.at(i).state); });
    const auto [low, high] = std::minmax_element(scores.begin(), scores.end());
    const double least = *low, most = *high;
    for (double& score : scores) score = most == least ? 1.0 : (most - score) / (most - least);
  }

 protected:
  virtual std::optional<double> value(const EndpointState& state) const = 0;
};

class QueueScorer final : public SpanScorer {
 public:
  explicit QueueScorer(Parameters) {}
  std::optional<double> value(const EndpointState& state) const override { return state.waiting; }
};

class RunningScorer final : public SpanScorer {
 public:
  explicit RunningScorer(Parameters) {}
  std::optional<double> value(const EndpointState& state) const override { return state.running; }
};

class CacheUseScorer final : public Plugin, public Scorer {
 public:
  using Parameters = NoParameters;
  explicit CacheUseScorer(Parameters) {}

  void score(Context& context, std::span<const EndpointIndex> candidates, std::span<double> scores) override {
    fill_known(candidates, scores, [&](EndpointIndex i) { return context.at(i).state.kv_usage; });
    for (double& score : scores) score = 1 - score;
  }
};

class LoadAwareScorer final : public Plugin, public Scorer {
 public:
  struct Parameters {
    int threshold = 128;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("threshold", self.threshold, {.help = "Waiting requests that score 0", .min = 1});
    }
  };
  explicit LoadAwareScorer(Parameters parameters) : threshold_(parameters.threshold) {}

  void score(Context& context, std::span<const EndpointIndex> candidates, std::span<double> scores) override {
    fill_known(candidates, scores, [&](EndpointIndex i) { return context.at(i).state.waiting; });
    for (double& score : scores) score = 0.5 * (1 - std::min(std::max(score, 0.0), threshold_) / threshold_);
  }

 private:
  double threshold_;
};

class ActiveRequestScorer final : public Plugin, public Scorer {
 public:
  struct Parameters {
    int idle_threshold = 0;
    double max_busy_score = 1;
    std::string producer;
    std::string request_timeout;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("idleThreshold", self.idle_threshold, {.help = "Up to so many requests score 1", .min = 0});
      v.field("maxBusyScore", self.max_busy_score, {.help = "Best score of an endpoint that is not idle", .min = 0, .max = 1});
      v.field("inFlightLoadProducerName", self.producer, {.help = "Which inflight-load-producer counts"});
      v.field("requestTimeout", self.request_timeout, {.help = "Ignored: requests count until they end"});
    }
  };
  explicit ActiveRequestScorer(Parameters parameters) : parameters_(std::move(parameters)) {}

  Status connect(Plugins& plugins) override { return connect_in_flight(plugins, *this, parameters_.producer, load_); }

  void score(Context& context, std::span<const EndpointIndex> candidates, std::span<double> scores) override {
    std::int64_t most = 0;
    for (const EndpointIndex i : candidates) most = std::max(most, load_->requests(context.slot(i)));
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      const std::int64_t count = load_->requests(context.slot(candidates[i]));
      scores[i] = count <= parameters_.idle_threshold
                      ? 1.0
                      : static_cast<double>(most - count) / static_cast<double>(most) * parameters_.max_busy_score;
    }
  }

 private:
  Parameters parameters_;
  InFlightLoad* load_ = nullptr;
};

class TokenLoadScorer final : public Plugin, public Scorer {
 public:
  struct Parameters {
    std::int64_t threshold = 4194304;
    std::string producer;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("queueThresholdTokens", self.threshold, {.help = "Tokens that score 0", .min = 1});
      v.field("inFlightLoadProducerName", self.producer, {.help = "Which inflight-load-producer counts"});
    }
  };
  explicit TokenLoadScorer(Parameters parameters) : parameters_(std::move(parameters)) {}

  Status connect(Plugins& plugins) override { return connect_in_flight(plugins, *this, parameters_.producer, load_); }

  void score(Context& context, std::span<const EndpointIndex> candidates, std::span<double> scores) override {
    const auto threshold = static_cast<double>(parameters_.threshold);
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      const auto tokens = static_cast<double>(load_->tokens(context.slot(candidates[i])) +
                                              load_->uncached_tokens(context, candidates[i]));
      scores[i] = tokens <= 0 ? 1.0 : 1 - std::min(tokens, threshold) / threshold;
    }
  }

 private:
  Parameters parameters_;
  InFlightLoad* load_ = nullptr;
};

constexpr PluginType kTypes[] = {
    plugin_type<QueueScorer>("queue-scorer", "Fewest waiting requests: (max - waiting) / (max - min) over the candidates; 1 if all are equal."),
    plugin_type<RunningScorer>("running-requests-size-scorer", "The same with running requests."),
    plugin_type<CacheUseScorer>("kv-cache-utilization-scorer", "1 - share of the cache in use."),
    plugin_type<LoadAwareScorer>("load-aware-scorer", "0.5 * (1 - min(waiting, threshold) / threshold)."),
    plugin_type<ActiveRequestScorer>("active-request-scorer", "Requests in flight as the router counts them: 1 up to idleThreshold, else (max - n) / max * maxBusyScore."),
    plugin_type<TokenLoadScorer>("token-load-scorer", "1 - min(t, queueThresholdTokens) / queueThresholdTokens, t = tokens in flight and this request's that are not cached there."),
};

}  // namespace

std::span<const PluginType> load_scorers() { return kTypes; }

}  // namespace braid::router
