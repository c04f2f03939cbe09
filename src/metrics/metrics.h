// SPDX-License-Identifier: Apache-2.0
// Counters, gauges and histograms. They live as members of a metrics struct, which says once what
// they are called; registration, Prometheus text and the reference page follow from it:
//
//   struct EngineMetrics {
//     metrics::Gauge requests_running;
//     metrics::Family<metrics::Counter> request_success{{"finished_reason"}};
//     metrics::Histogram time_to_first_token{metrics::first_token_buckets()};
//
//     template <class Self, class Visitor>
//     static void describe(Self& self, Visitor& v) {
//       v.metric("vllm:num_requests_running", self.requests_running, "Requests being computed");
//       v.metric("vllm:request_success", self.request_success, "Finished requests by reason");
//       v.metric("vllm:time_to_first_token_seconds", self.time_to_first_token, "...");
//     }
//   };
//
// Thread safety: updates may come from any thread at any time, and take no lock; Family::with takes
// a short one, so keep the reference it returns where the path is hot. Metrics are neither copied
// nor moved.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"

namespace braid::metrics {

// Only grows. Its name ends in _total on the wire; that is added when it is printed.
class Counter {
 public:
  // REQUIRES: by >= 0.
  void add(double by = 1) { value_.fetch_add(by, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

class Gauge {
 public:
  void set(double value) { value_.store(value, std::memory_order_relaxed); }
  void add(double by) { value_.fetch_add(by, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

class Histogram {
 public:
  // `bounds`: upper bounds of the buckets, inclusive and ascending, without +Inf.
  explicit Histogram(std::vector<double> bounds);

  // `count` observations of the same value.
  void observe(double value, std::uint64_t count = 1);

  const std::vector<double>& bounds() const { return bounds_; }
  // Observations per bucket, not cumulative; the last one is beyond all bounds.
  std::vector<std::uint64_t> counts() const;
  std::uint64_t count() const;
  double sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  const std::vector<double> bounds_;
  std::vector<std::atomic<std::uint64_t>> counts_;
  std::atomic<double> sum_{0};
};

// One metric for every combination of label values that has been used.
template <class Metric>
class Family {
 public:
  // `arguments` are given to every metric's constructor (a histogram's bounds).
  template <class... Arguments>
  explicit Family(std::vector<std::string> labels, Arguments... arguments)
      : labels_(std::move(labels)),
        make_([arguments...] { return std::make_unique<Metric>(arguments...); }) {}

  // The metric of these label values, made on first use; valid until they are removed.
  // REQUIRES: as many values as there are labels.
  Metric& with(const std::vector<std::string>& values) {
    CHECK(values.size() == labels_.size(), "label values do not match the labels");
    {
      std::shared_lock lock(mutex_);
      const auto found = children_.find(values);
      if (found != children_.end()) return *found->second;
    }
    std::unique_lock lock(mutex_);
    auto& child = children_[values];
    if (child == nullptr) child = make_();
    return *child;
  }

  // What they named is no more. REQUIRES: nobody uses the metric that with() gave for them.
  void remove(const std::vector<std::string>& values) {
    std::unique_lock lock(mutex_);
    children_.erase(values);
  }

  const std::vector<std::string>& labels() const { return labels_; }

  // Calls visit(values, metric) for each, in order of label values.
  template <class Visit>
  void for_each(Visit&& visit) const {
    std::shared_lock lock(mutex_);
    for (const auto& [values, metric] : children_) visit(values, *metric);
  }

 private:
  const std::vector<std::string> labels_;
  const std::function<std::unique_ptr<Metric>()> make_;
  mutable std::shared_mutex mutex_;
  std::map<std::vector<std::string>, std::unique_ptr<Metric>> children_;
};

// Bucket bounds of the serving metrics, in seconds or tokens.
std::vector<double> first_token_buckets();          // 1 ms ... 2560 s
std::vector<double> token_latency_buckets();        // 10 ms ... 80 s
std::vector<double> request_latency_buckets();      // 0.3 s ... 7680 s
std::vector<double> one_two_five_buckets(std::int64_t up_to);  // 1 2 5 10 ... up_to
std::vector<double> iteration_token_buckets();      // 1 8 16 32 ... 16384

}  // namespace braid::metrics
