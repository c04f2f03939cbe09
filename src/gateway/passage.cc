// SPDX-License-Identifier: Apache-2.0
#include "gateway/passage.h"

#include <utility>

#include "base/log.h"
#include "gateway/collect.h"
#include "gateway/endpoint_list.h"
#include "gateway/headers.h"
#include "gateway/token_ids.h"
#include "net/http_client.h"

namespace braid::gateway {
namespace {

constexpr std::size_t kLongestTokenAnswer = 64u << 20;
constexpr std::size_t kLongestExplanation = 32u << 10;
constexpr std::string_view kExplain = "x-braid-explain";

double milliseconds(Duration d) { return to_seconds(d) * 1e3; }

}  // namespace

void Passage::enter(router::IncomingRequest incoming) {
  id_ = router::find_header(incoming.headers, "x-request-id");
  if (id_.empty()) set_header(incoming.headers, "x-request-id", id_ = new_request_id());
  journey_.enter(id_, line_, router::find_header(incoming.headers, tracing::kTraceParent));
  auto request = router::read_request(std::move(incoming), began_);
  if (!request.ok()) return refused({400, request.error(), {}, {}});
  request_ = std::make_shared<router::RoutedRequest>(std::move(*request));
  if (core_.token_source && !request_->facts.prompt.empty()) return fetch_tokens(*core_.token_source);
  submit();
}

// Without token ids the decision only knows less: it says so itself.
void Passage::fetch_tokens(const router::TokenSource& source) {
  const auto url = net::parse_url(source.url);
  if (!url.ok()) return submit();
  net::PoolRequest request;
  request.host = url->host;
  request.port = url->port;
  request.method = "POST";
  request.target = url->base + request_->path + "/render";
  request.headers = {{"content-type", "application/json"}};
  request.body = request_->body;
  request.timeout = request.silence_timeout = request.connect_timeout = source.timeout;
  token_call_ = collect(*core_.upstream, std::move(request), kLongestTokenAnswer, [self = shared_from_this()](Result<Collected> answer) {
    if (self->token_call_ == 0) return;
    self->token_call_ = 0;
    if (answer.ok() && answer->status == 200) self->request_->tokens = token_ids_in(answer->body);
    self->submit();
  });
}

void Passage::submit() {
  take(core_.router->submit(request_, core_.endpoints->usable()));
}

bool Passage::may_wait() const {
  return core_.endpoints->usable().empty() && core_.router->has_flow_control() && !core_.draining && attempts_ < core_.settings.http.max_attempts;
}

void Passage::wait_for_another() {
  log_info("request waits for another endpoint", {{"id", id_}, {"failed", decision_->primary().id.name}});
  core_.metrics.retries.with({"none left"}).add();
  end_flight({.status = 503});
  decision_->data.reset();
  take(core_.router->submit_again(request_, core_.endpoints->usable()));
}

void Passage::take(router::Router::Submission submission) {
  if (submission.decision) return settle(std::move(*submission.decision));
  ticket_ = submission.ticket;
  core_.waiting[*ticket_] = shared_from_this();
  core_.poll_soon();
}

void Passage::settle(router::Decision decision) {
  ticket_.reset();
  decision_ = std::make_shared<router::Decision>(std::move(decision));
  core_.decisions.add(id_, decision_);
  journey_.decided(*decision_, request_->model, core_.clock.now());
  if (decision_->ok()) return decided();
  const router::Refusal& refusal = *decision_->refusal;
  refused({refusal.status, {ErrorCode::kUnavailable, refusal.body(), {}}, refusal.reason, refusal.retry_after_s});
}

bool Passage::leave() {
  if (ticket_) {
    core_.router->cancel(*ticket_);
    core_.waiting.erase(*ticket_);
  } else if (token_call_ != 0) {
    core_.upstream->cancel(std::exchange(token_call_, 0));
  } else {
    return false;
  }
  ticket_.reset();
  core_.metrics.client_disconnects.add();
  return true;
}

Passage::Refused Passage::for_more_urgent() {
  return {429, {ErrorCode::kResourceExhausted, "inference error: ResourceExhausted - ended for requests of higher priority", {}},
          router::dropped::kEvicted, 1};
}

std::vector<net::Header> Passage::headers_of(const Refused& refused) const {
  std::vector<net::Header> headers{{"x-request-id", id_}};
  if (!refused.reason.empty()) headers.push_back({std::string(router::dropped::kHeader), std::string(refused.reason)});
  if (refused.retry_after_s) headers.push_back({"retry-after", std::to_string(*refused.retry_after_s)});
  return headers;
}

router::HeaderList Passage::headers_for(const router::EndpointId& endpoint, bool name_prefiller) const {
  router::HeaderList headers;
  for (const auto& [name, value] : decision_->request_headers) {
    if (name_prefiller || name != "x-prefiller-host-port") headers.emplace_back(name, value);
  }
  const router::Endpoint* known = core_.endpoints->find(endpoint.name);
  if (known != nullptr && !known->label(kSharedPortLabel).empty()) set_header(headers, "x-data-parallel-rank", std::to_string(endpoint.rank));
  return headers;
}

router::HeaderList Passage::answer_headers(bool has_request_id) const {
  router::HeaderList headers = decision_->response_headers;
  if (!has_request_id) headers.emplace_back("x-request-id", id_);
  if (request_->header(kExplain) != "1") return headers;
  std::string why = router::to_json(*decision_);
  headers.emplace_back(kExplain, why.size() <= kLongestExplanation ? std::move(why) : "/debug/decisions/" + id_);
  return headers;
}

std::string_view Passage::body() {
  if (!renamed()) return request_->body;
  renamed_body_ = router::body_with_model(*request_, decision_->model);
  return renamed_body_;
}

void Passage::begin_flight() {
  ++attempts_;
  flight_ = core_.router->sent(*request_, *decision_);
  core_.in_flight[*flight_] = weak_from_this();
}

void Passage::on_piece(std::int64_t events) {
  if (!first_piece_) {
    first_piece_ = core_.clock.now();
    core_.router->first_chunk(*flight_);
  }
  if (events > 0) core_.router->chunk(*flight_, events);
}

void Passage::end_flight(const Finish& ending) {
  if (!flight_) return;
  core_.in_flight.erase(*flight_);
  const Usage& usage = ending.usage;
  core_.router->done(*flight_, {.status = ending.status, .prompt_tokens = usage.prompt_tokens, .output_tokens = usage.output_tokens,
                                .cached_tokens = usage.cached_tokens, .bytes = ending.bytes, .processing = ending.processing});
  flight_.reset();
  core_.poll_soon();
}

void Passage::finish(const Finish& ending) {
  end_flight(ending);
  if (decision_) decision_->data.reset();
  core_.journeys.add(journey_.end({.status = ending.status, .attempts = attempts_, .first_byte = first_piece_, .usage = ending.usage,
                                   .why = ending.why, .decision = decision_},
                                  core_.clock.now()));
  if (!core_.settings.http.access_log) return;
  log_info("request", {{"id", id_},
                       {"client", peer_},
                       {"request", line_},
                       {"model", request_ ? request_->model : ""},
                       {"endpoint", decision_ && decision_->ok() ? decision_->primary().id.name : ""},
                       {"prefill", decision_ && !decision_->prefill.empty() ? decision_->prefill.front().id.name : ""},
                       {"status", ending.status},
                       {"attempts", attempts_},
                       {"queued_ms", decision_ ? milliseconds(decision_->queued) : 0.0},
                       {"first_byte_ms", first_piece_ ? milliseconds(*first_piece_ - began_) : 0.0},
                       {"total_ms", milliseconds(core_.clock.now() - began_)},
                       {"bytes", ending.bytes},
                       {"prompt_tokens", ending.usage.prompt_tokens},
                       {"output_tokens", ending.usage.output_tokens},
                       {"cached_tokens", ending.usage.cached_tokens},
                       {"why", ending.why}});
}

}  // namespace braid::gateway
