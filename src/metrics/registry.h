// SPDX-License-Identifier: Apache-2.0
// A list of metrics structs, printed in Prometheus text format 0.0.4 or as a reference page.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "metrics/metrics.h"

namespace braid::metrics {

using Labels = std::vector<std::pair<std::string, std::string>>;

using MetricRef = std::variant<const Counter*,
                               const Gauge*,
                               const Histogram*,
                               const Family<Counter>*,
                               const Family<Gauge>*,
                               const Family<Histogram>*>;

struct Entry {
  std::string name;  // without _total
  std::string help;
  MetricRef metric;
  Labels labels;  // the same on every sample
  std::vector<std::string> label_names = {};  // instead of the family's; empty: those
};

// What the Content-Type of /metrics must say.
inline constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

// Thread safety: add() before other threads start; text() from any thread afterwards.
class Registry {
 public:
  // Adds every metric that `metrics` describes, which must outlive the registry. `labels` come
  // first on each sample, for example {{"model_name", "lexicon-30m"}, {"engine", "0"}}.
  template <class Metrics>
  void add(const Metrics& metrics, const Labels& labels = {}) {
    Adder adder{*this, labels};
    Metrics::describe(metrics, adder);
  }

  // Prints what was added as `name` under `former` too, as an older version called it: with its names of
  // labels (empty: the same) and `more` of them first. REQUIRES: `name` was added.
  void add_former(std::string_view name, std::string former, std::vector<std::string> label_names = {}, const Labels& more = {});

  // All samples. Metrics that were added under one name with different labels (one per engine)
  // are printed together.
  std::string text() const;

  // A Markdown table: name, type, labels, meaning.
  std::string markdown() const;

  const std::vector<Entry>& entries() const { return entries_; }

 private:
  struct Adder {
    Registry& registry;
    const Labels& labels;

    template <class Metric>
    void metric(std::string_view name, const Metric& metric, std::string_view help) {
      registry.entries_.push_back({std::string(name), std::string(help), &metric, labels, {}});
    }
  };

  std::vector<Entry> entries_;
};

}  // namespace braid::metrics
