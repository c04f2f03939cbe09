// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: what is counted of one request, under labels that clients can't make endless:
// after 1,000 model names, and as many fairness ids, new ones count as "other".
// Thread rules: one thread.
#pragma once

#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "router/decision.h"
#include "router/metrics.h"

namespace braid::router {

class RequestMetrics {
 public:
  // A request on its way to an endpoint and back.
  struct Flight {
    std::vector<std::string> labels;  // values of Metrics::request_labels()
    bool streaming = false;
    TimePoint received{};
    TimePoint first{};              // piece of the answer
    std::optional<TimePoint> last;  // piece of a stream with tokens
    metrics::Histogram* inter_token_latency = nullptr;
  };

  explicit RequestMetrics(Metrics* metrics) : metrics_(metrics) {}  // null: nothing is counted

  void received(const RoutedRequest& request);
  // It never came to an endpoint.
  void refused(const RoutedRequest& request, int status);
  Flight sent(const RoutedRequest& request, const std::string& model, TimePoint now);
  void first_chunk(Flight& flight, TimePoint now);
  void chunk(Flight& flight, std::int64_t output_tokens, TimePoint now);
  void done(const Flight& flight, const ResponseFacts& facts, TimePoint now);

 private:
  std::vector<std::string> labels_of(const RoutedRequest& request, const std::string& target);
  static std::string bounded(std::unordered_set<std::string>& known, const std::string& value);

  Metrics* const metrics_;
  std::unordered_set<std::string> models_, flows_;
};

}  // namespace braid::router
