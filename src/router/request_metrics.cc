// SPDX-License-Identifier: Apache-2.0
#include "router/request_metrics.h"

namespace braid::router {
namespace {

constexpr std::size_t kMostValues = 1000;

std::vector<std::string> with(std::vector<std::string> labels, std::string value) {
  labels.push_back(std::move(value));
  return labels;
}

}  // namespace

std::string RequestMetrics::bounded(std::unordered_set<std::string>& known, const std::string& value) {
  if (known.contains(value)) return value;
  if (known.size() >= kMostValues) return "other";
  known.insert(value);
  return value;
}

std::vector<std::string> RequestMetrics::labels_of(const RoutedRequest& request, const std::string& target) {
  return {bounded(models_, request.model), bounded(models_, target), bounded(flows_, request.fairness_id), std::to_string(request.priority)};
}

void RequestMetrics::received(const RoutedRequest& request) {
  if (metrics_ == nullptr) return;
  const std::vector<std::string> labels = labels_of(request, request.model);
  metrics_->requests.with(labels).add();
  metrics_->request_size.with(labels).observe(static_cast<double>(request.body.size()));
}

void RequestMetrics::refused(const RoutedRequest& request, int status) {
  if (metrics_ != nullptr) metrics_->request_errors.with(with(labels_of(request, request.model), std::to_string(status))).add();
}

RequestMetrics::Flight RequestMetrics::sent(const RoutedRequest& request, const std::string& model, TimePoint now) {
  Flight flight{.labels = {}, .streaming = request.facts.streaming, .received = request.received, .last = {}};
  if (metrics_ == nullptr) return flight;
  flight.labels = labels_of(request, model);
  metrics_->requests_running.with(flight.labels).add(1);
  metrics_->request_processing.observe(to_seconds(now - request.received));
  return flight;
}

void RequestMetrics::first_chunk(Flight& flight, TimePoint now) {
  flight.first = now;
  if (metrics_ == nullptr) return;
  metrics_->time_to_first_token.with(with(flight.labels, flight.streaming ? "true" : "false")).observe(to_seconds(now - flight.received));
  if (flight.streaming) flight.inter_token_latency = &metrics_->inter_token_latency.with(flight.labels);
}

void RequestMetrics::chunk(Flight& flight, std::int64_t output_tokens, TimePoint now) {
  if (flight.inter_token_latency == nullptr || output_tokens <= 0) return;
  const auto tokens = static_cast<std::uint64_t>(output_tokens);
  if (flight.last) flight.inter_token_latency->observe(to_seconds(now - *flight.last) / static_cast<double>(tokens), tokens);
  flight.last = now;
}

void RequestMetrics::done(const Flight& flight, const ResponseFacts& facts, TimePoint now) {
  if (metrics_ == nullptr) return;
  const double seconds = to_seconds(now - flight.received);
  const auto tokens = static_cast<double>(facts.output_tokens);
  metrics_->requests_running.with(flight.labels).add(-1);
  metrics_->request_duration.with(flight.labels).observe(seconds);
  if (facts.status >= 400) metrics_->request_errors.with(with(flight.labels, std::to_string(facts.status))).add();
  if (facts.bytes > 0) {
    metrics_->response_size.with(flight.labels).observe(static_cast<double>(facts.bytes));
    metrics_->response_processing.observe(to_seconds(facts.processing));
  }
  if (facts.prompt_tokens > 0) {
    metrics_->input_tokens.with(flight.labels).observe(static_cast<double>(facts.prompt_tokens));
    metrics_->cached_tokens.with(flight.labels).observe(static_cast<double>(facts.cached_tokens));
  }
  if (facts.output_tokens <= 0) return;
  metrics_->output_tokens.with(flight.labels).observe(tokens);
  metrics_->normalized_time_per_output_token.with(flight.labels).observe(seconds / tokens);
  if (facts.output_tokens == 1 || !flight.last) return;
  metrics_->time_per_output_token.with(flight.labels).observe(to_seconds(*flight.last - flight.first) / (tokens - 1));
}

}  // namespace braid::router
