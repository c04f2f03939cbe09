// SPDX-License-Identifier: Apache-2.0
#include "gateway/journey.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace braid::gateway {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMostRecords = 48;
constexpr int kFirstFailure = 500;

double milliseconds(Duration d) { return to_seconds(d) * 1e3; }

std::string outcome(const router::DisaggregationTrace& trace) {
  switch (trace.outcome) {
    case router::Disaggregation::kNotConfigured: return {};
    case router::Disaggregation::kDeclined: return "declined";
    case router::Disaggregation::kNoEndpoint: return "no endpoint";
    case router::Disaggregation::kChosen: return "chosen";
  }
  return {};
}

// The profile's scores of its pick, and of the best endpoint beside it.
Json profile_json(const router::Decision& decision, const router::ProfileTrace& profile) {
  Json json = {{"profile", profile.name}, {"picker", profile.picker}, {"candidates", profile.scored.size()}};
  std::size_t removed = 0;
  for (const auto& filter : profile.filters) removed += filter.removed.size();
  json["filtered"] = removed;
  if (!profile.note.empty()) json["note"] = profile.note;
  if (profile.picked.empty()) return json;
  const auto pick = std::find(profile.scored.begin(), profile.scored.end(), profile.picked.front());
  if (pick == profile.scored.end() || profile.totals.size() != profile.scored.size()) return json;
  const auto chosen = static_cast<std::size_t>(pick - profile.scored.begin());
  json["endpoint"] = decision.endpoints[static_cast<std::size_t>(*pick)];
  json["total"] = profile.totals[chosen];
  json["scores"] = Json::array();
  for (const auto& scorer : profile.scorers) {
    if (chosen < scorer.scores.size()) json["scores"].push_back({{"scorer", scorer.name}, {"weight", scorer.weight}, {"score", scorer.scores[chosen]}});
  }
  std::optional<std::size_t> next;
  for (std::size_t i = 0; i < profile.totals.size(); ++i) {
    if (i != chosen && (!next || profile.totals[i] > profile.totals[*next])) next = i;
  }
  if (next) json["next"] = {{"endpoint", decision.endpoints[static_cast<std::size_t>(profile.scored[*next])]}, {"total", profile.totals[*next]}};
  return json;
}

Json decision_json(const router::Decision& decision) {
  Json json = {{"queued_ms", milliseconds(decision.queued)}, {"spent_us", to_seconds(decision.spent) * 1e6}};
  if (decision.refusal) json["refusal"] = decision.refusal->message;
  if (const std::string what = outcome(decision.disaggregation); !what.empty()) {
    json["disaggregation"] = {{"outcome", what}, {"reason", decision.disaggregation.reason}};
  }
  json["profiles"] = Json::array();
  for (const auto& profile : decision.profiles) json["profiles"].push_back(profile_json(decision, profile));
  return json;
}

Json record_json(const JourneyRecord& r, TimePoint now) {
  const auto since = [&](TimePoint at) { return milliseconds(at - r.began); };
  Json json = {{"id", r.id}, {"model", r.model}, {"age_ms", milliseconds(now - r.began)}, {"status", r.ending.status}, {"attempts", r.ending.attempts}};
  json["decided_ms"] = since(r.decided);
  json["total_ms"] = since(r.ended);
  if (r.ending.first_byte) json["first_byte_ms"] = since(*r.ending.first_byte);
  json["prompt_tokens"] = r.ending.usage.prompt_tokens;
  json["output_tokens"] = r.ending.usage.output_tokens;
  json["cached_tokens"] = r.ending.usage.cached_tokens;
  if (!r.ending.why.empty()) json["why"] = r.ending.why;
  json["legs"] = Json::array();
  for (const Leg& leg : r.legs) {
    json["legs"].push_back({{"what", leg.what}, {"endpoint", leg.endpoint}, {"begin_ms", since(leg.begin)}, {"end_ms", since(leg.end)}, {"status", leg.status}});
  }
  if (r.ending.decision) json["decision"] = decision_json(*r.ending.decision);
  return json;
}

}  // namespace

Journey::Journey(std::string_view service, tracing::Tracer* tracer, TimePoint began) : service_(service), tracer_(tracer) {
  record_.began = record_.decided = began;
}

void Journey::enter(const std::string& id, const std::string& line, std::string_view traceparent) {
  record_.id = id;
  if (tracer_ == nullptr) return;
  request_span_ = tracer_->root(name("request"), traceparent, record_.began);
  request_span_->set("gen_ai.request.id", id);
  request_span_->set("http.request.method", line.substr(0, line.find(' ')));
  request_span_->set("url.path", line.substr(std::min(line.find(' ') + 1, line.size())));
}

void Journey::decided(const router::Decision& decision, const std::string& model, TimePoint now) {
  record_.model = model;
  record_.decided = now;
  if (!request_span_) return;
  tracing::Span span = tracing::Tracer::child(*request_span_, name("decision"), tracing::Kind::kInternal, record_.began);
  span.set("braid.queued_seconds", to_seconds(decision.queued));
  if (decision.ok()) span.set("braid.endpoint", decision.primary().id.name);
  if (!decision.prefill.empty()) span.set("braid.prefill_endpoint", decision.prefill.front().id.name);
  if (!decision.disaggregation.reason.empty()) span.set("braid.disaggregation", decision.disaggregation.reason);
  if (decision.refusal) span.error = decision.refusal->message;
  tracer_->end(std::move(span), now);
  request_span_->set("gen_ai.request.model", model);
}

void Journey::begin_leg(const std::string& what, const std::string& endpoint, TimePoint now) {
  Running& leg = running_.emplace_back(Running{record_.legs.size(), {}});
  record_.legs.push_back({what, endpoint, now, now, 0});
  if (!request_span_) return;
  leg.span = tracing::Tracer::child(*request_span_, name(what), tracing::Kind::kClient, now);
  leg.span->set("server.address", endpoint);
}

void Journey::end_leg(const std::string& what, int status, const std::string& why, TimePoint now) {
  const auto found = std::find_if(running_.begin(), running_.end(), [&](const Running& r) { return record_.legs[r.leg].what == what; });
  if (found == running_.end()) return;
  Running running = std::move(*found);
  running_.erase(found);
  record_.legs[running.leg].end = now;
  record_.legs[running.leg].status = status;
  if (!running.span) return;
  running.span->set("http.response.status_code", std::int64_t{status});
  if (!why.empty() || status >= kFirstFailure) running.span->error = why.empty() ? "status " + std::to_string(status) : why;
  tracer_->end(std::move(*running.span), now);
}

std::string Journey::traceparent() const {
  if (!running_.empty() && running_.back().span) return tracing::traceparent(running_.back().span->context);
  return request_span_ ? tracing::traceparent(request_span_->context) : std::string();
}

JourneyRecord Journey::end(Ending ending, TimePoint now) {
  while (!running_.empty()) end_leg(record_.legs[running_.back().leg].what, ending.status, ending.why, now);
  if (request_span_) {
    request_span_->set("http.response.status_code", std::int64_t{ending.status});
    request_span_->set("braid.attempts", std::int64_t{ending.attempts});
    request_span_->set("gen_ai.usage.prompt_tokens", ending.usage.prompt_tokens);
    request_span_->set("gen_ai.usage.completion_tokens", ending.usage.output_tokens);
    if (!ending.why.empty()) request_span_->error = ending.why;
    tracer_->end(*std::exchange(request_span_, std::nullopt), now);
  }
  record_.ended = now;
  record_.ending = std::move(ending);
  return std::move(record_);
}

void JourneyLog::add(JourneyRecord record) {
  if (records_.size() == kMostRecords) records_.pop_front();
  records_.push_back(std::move(record));
}

std::string JourneyLog::json(TimePoint now) const {
  Json list = Json::array();
  for (auto record = records_.rbegin(); record != records_.rend(); ++record) list.push_back(record_json(*record, now));
  return list.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace braid::gateway
