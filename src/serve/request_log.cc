// SPDX-License-Identifier: Apache-2.0
#include "serve/request_log.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace braid::serve {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMostRecords = 48;

Duration seconds(double n) { return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(n)); }
double milliseconds(Duration d) { return to_seconds(d) * 1e3; }

}  // namespace

void RequestRecord::take(const engine::Timing& choice) {
  timing.queued = std::max(timing.queued, choice.queued);
  timing.transfer = std::max(timing.transfer, choice.transfer);
  timing.transfer_bytes = std::max(timing.transfer_bytes, choice.transfer_bytes);
  timing.prefill = std::max(timing.prefill, choice.prefill);
  timing.decode = std::max(timing.decode, choice.decode);
}

void RequestLog::add(const RequestRecord& record) {
  if (records_.size() == kMostRecords) records_.pop_front();
  records_.push_back(record);
}

std::string RequestLog::json(TimePoint now) const {
  Json list = Json::array();
  for (auto r = records_.rbegin(); r != records_.rend(); ++r) {
    list.push_back({{"id", r->id}, {"age_ms", milliseconds(now - r->arrived)}, {"finish", r->finish}, {"queued_ms", r->timing.queued * 1e3},
                    {"prefill_ms", r->timing.prefill * 1e3}, {"decode_ms", r->timing.decode * 1e3}, {"total_ms", milliseconds(r->ended - r->arrived)},
                    {"prompt_tokens", r->prompt_tokens}, {"cached_tokens", r->cached_tokens}, {"output_tokens", r->output_tokens}});
  }
  return list.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void describe_request(tracing::Span& span, const protocol::CommonRequest& request, const std::string& model, const RequestRecord& record,
                      std::size_t sequences) {
  const auto& sampling = request.sampling;
  span.set("gen_ai.request.id", record.id);
  span.set("gen_ai.response.model", model);
  if (request.max_tokens) span.set("gen_ai.request.max_tokens", std::int64_t{*request.max_tokens});
  span.set("gen_ai.request.temperature", static_cast<double>(sampling.temperature));
  span.set("gen_ai.request.top_p", static_cast<double>(sampling.top_p));
  span.set("gen_ai.request.n", std::int64_t{sampling.n});
  span.set("gen_ai.usage.num_sequences", static_cast<std::int64_t>(sequences));
  span.set("gen_ai.usage.prompt_tokens", record.prompt_tokens);
  span.set("gen_ai.usage.completion_tokens", record.output_tokens);
  span.set("gen_ai.latency.time_in_queue", record.timing.queued);
  span.set("gen_ai.latency.time_to_first_token", record.timing.queued + record.timing.transfer + record.timing.prefill);
  span.set("gen_ai.latency.time_in_model_prefill", record.timing.prefill);
  span.set("gen_ai.latency.time_in_model_decode", record.timing.decode);
  span.set("gen_ai.latency.time_in_model_inference", record.timing.prefill + record.timing.decode);
  span.set("gen_ai.latency.e2e", to_seconds(record.ended - record.arrived));
  span.set("braid.cached_tokens", record.cached_tokens);
  span.set("braid.finish_reason", std::string(record.finish));
}

void end_request_span(tracing::Tracer& tracer, tracing::Span&& span, const RequestRecord& record) {
  TimePoint at = record.ended - seconds(record.timing.queued + record.timing.transfer + record.timing.prefill + record.timing.decode);
  const auto part = [&](const char* name, double length, std::int64_t bytes = 0) {
    if (length <= 0) return;
    tracing::Span child = tracing::Tracer::child(span, name, tracing::Kind::kInternal, std::max(at, record.arrived));
    if (bytes > 0) child.set("braid.bytes", bytes);
    at += seconds(length);
    tracer.end(std::move(child), at);
  };
  part("queue", record.timing.queued);
  part("kv_transfer", record.timing.transfer, record.timing.transfer_bytes);
  part("prefill", record.timing.prefill);
  part("decode", record.timing.decode);
  tracer.end(std::move(span), record.ended);
}

}  // namespace braid::serve
