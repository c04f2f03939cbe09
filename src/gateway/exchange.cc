// SPDX-License-Identifier: Apache-2.0
#include "gateway/exchange.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "gateway/endpoint_list.h"
#include "gateway/headers.h"
#include "gateway/token_ids.h"
#include "net/http_client.h"
#include "protocol/error_json.h"

namespace braid::gateway {
namespace {

constexpr std::size_t kLongestSideAnswer = 64u << 20;
constexpr std::size_t kLongestExplanation = 32u << 10;
constexpr int kClientLeft = 499;  // in the log and in metrics, as other proxies say it

bool cannot_serve_now(int status) { return status == 429 || status == 502 || status == 503; }

double milliseconds(Duration d) { return to_seconds(d) * 1e3; }

}  // namespace

Exchange::Exchange(Core& core, net::Request&& request, std::shared_ptr<net::ResponseWriter> client)
    : core_(core), client_(std::move(client)), began_(core.clock.now()), incoming_(std::move(request)) {}

void Exchange::start() {
  client_->on_close([self = weak_from_this()] {
    if (const auto exchange = self.lock()) exchange->client_left();
  });
  router::IncomingRequest incoming{incoming_.method, std::string(incoming_.path()), from_client(incoming_), std::move(incoming_.body)};
  id_ = router::find_header(incoming.headers, "x-request-id");
  if (id_.empty()) set_header(incoming.headers, "x-request-id", id_ = new_request_id());
  auto request = router::read_request(std::move(incoming), began_);
  if (!request.ok()) {
    answer_error(400, request.error());
    return finish(400, {});
  }
  request_ = std::make_shared<router::RoutedRequest>(std::move(*request));
  if (core_.token_source && !request_->facts.prompt.empty()) return fetch_tokens(*core_.token_source);
  submit();
}

// Without token ids the decision only knows less: it says so itself.
void Exchange::fetch_tokens(const router::TokenSource& source) {
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
  side_call_ = collect(*core_.upstream, std::move(request), kLongestSideAnswer, [self = shared_from_this()](Result<Collected> answer) {
    self->side_call_ = 0;
    if (self->gone_) return self->on_end({.status = Error{ErrorCode::kCancelled, "cancelled", {}}});
    if (answer.ok() && answer->status == 200) self->request_->tokens = token_ids_in(answer->body);
    self->submit();
  });
}

void Exchange::submit() {
  auto submission = core_.router->submit(request_, core_.endpoints->usable());
  if (submission.decision) return settle(std::move(*submission.decision));
  ticket_ = submission.ticket;
  core_.waiting[*ticket_] = shared_from_this();
  core_.poll_soon();
}

void Exchange::settle(router::Decision decision) {
  ticket_.reset();
  decision_ = std::make_shared<router::Decision>(std::move(decision));
  core_.decisions.add(id_, decision_);
  if (decision_->ok()) return attempt();
  const router::Refusal& refusal = *decision_->refusal;
  answer_error(refusal.status, {ErrorCode::kUnavailable, refusal.body(), {}}, refusal.reason, refusal.retry_after_s);
  finish(refusal.status, {});
}

void Exchange::attempt() {
  ++attempts_;
  another_ = false;
  transfer_.reset();
  leg_id_.clear();
  flight_ = core_.router->sent(*request_, *decision_);
  core_.in_flight[*flight_] = weak_from_this();
  const bool divide = !decision_->prefill.empty() && core_.settings.disaggregation == "proxy" && can_be_divided(request_->path);
  if (divide) return prefill(decision_->prefill.front().id);
  decode();
}

std::string_view Exchange::body() {
  if (decision_->model.empty() || decision_->model == request_->model) return request_->body;
  renamed_body_ = router::body_with_model(*request_, decision_->model);
  return renamed_body_;
}

net::PoolRequest Exchange::wire_to(const router::EndpointId& endpoint, std::string_view body) const {
  net::PoolRequest wire = request_to(endpoint, core_.settings.http);
  wire.method = incoming_.method;
  wire.target = incoming_.target;
  wire.body = body;
  router::HeaderList headers = request_->headers;
  for (const auto& [name, value] : decision_->request_headers) {
    if (core_.settings.disaggregation == "header" || name != "x-prefiller-host-port") set_header(headers, name, value);
  }
  if (!leg_id_.empty()) set_header(headers, "x-request-id", leg_id_);
  const router::Endpoint* known = core_.endpoints->find(endpoint.name);
  if (known != nullptr && !known->label(kSharedPortLabel).empty()) set_header(headers, "x-data-parallel-rank", std::to_string(endpoint.rank));
  wire.headers = to_wire(headers);
  return wire;
}

void Exchange::prefill(const router::EndpointId& endpoint) {
  leg_id_ = new_request_id();
  auto body_for_prefill = prefill_body(request_->path, body());
  if (!body_for_prefill.ok()) {
    answer_error(400, body_for_prefill.error());
    return finish(400, {});
  }
  divided_body_ = std::move(*body_for_prefill);
  side_call_ = collect(*core_.upstream, wire_to(endpoint, divided_body_), kLongestSideAnswer,
                       [self = shared_from_this(), endpoint](Result<Collected> answer) { self->prefilled(endpoint, std::move(answer)); });
}

void Exchange::prefilled(const router::EndpointId& endpoint, Result<Collected> answer) {
  side_call_ = 0;
  if (gone_ || evicted_) return on_end({.status = Error{ErrorCode::kCancelled, "cancelled", {}}});
  const bool failed = !answer.ok() || cannot_serve_now(answer->status) || answer->status == 504;
  if (failed) {
    core_.metrics.prefills.with({"failed"}).add();
    if (!answer.ok() && answer.error().code == ErrorCode::kUnavailable) core_.endpoints->set_alive(endpoint.host_port(), false);
    if (try_other(endpoint, "prefill")) return attempt();
    const std::string why = answer.ok() ? endpoint.host_port() + " answered " + std::to_string(answer->status) : answer.error().message;
    answer_error(503, {ErrorCode::kUnavailable, "prefill failed: " + why, {}}, router::dropped::kNoEndpoints, 1);
    return finish(503, {});
  }
  if (answer->status / 100 != 2) {
    core_.metrics.prefills.with({"refused"}).add();
    client_->send({.status = answer->status, .content_type = std::string(net::find_header(answer->headers, "content-type")),
                   .headers = from_endpoint(answer->headers), .body = std::move(answer->body)});
    return finish(answer->status, {});
  }
  transfer_ = read_prefill_answer(answer->body);
  core_.metrics.prefills.with({transfer_->transfer.empty() ? "without_transfer" : "done"}).add();
  decode();
}

void Exchange::decode() {
  const router::EndpointId& endpoint = decision_->primary().id;
  if (!core_.endpoints->has(endpoint)) {
    if (try_other(endpoint, "left the pool")) return attempt();
    answer_error(503, {ErrorCode::kUnavailable, "endpoint " + endpoint.name + " has left the pool; try again", {}}, router::dropped::kNoEndpoints, 1);
    return finish(503, {});
  }
  std::string_view bytes = body();
  AnswerChanges changes;
  if (bytes.data() != request_->body.data()) changes = {.model_from = decision_->model, .model_to = request_->model};
  if (transfer_) {
    divided_body_ = *decode_body(bytes, transfer_->transfer);
    bytes = divided_body_;
    changes.cached_tokens = transfer_->cached_tokens;
  }
  const auto self = shared_from_this();
  relay_ = Relay::start(*core_.upstream, client_, wire_to(endpoint, bytes), changes,
                        {.on_head = [self](int status, const auto& headers) { return self->on_head(status, headers); },
                         .on_piece = [self](std::int64_t events) { self->on_piece(events); },
                         .on_end = [self](const RelayEnd& end) { self->on_end(end); }});
}

bool Exchange::on_head(int status, const std::vector<net::Header>& headers) {
  if (cannot_serve_now(status) && try_other(decision_->primary().id, "status " + std::to_string(status))) {
    another_ = true;
    return false;
  }
  for (const auto& [name, value] : decision_->response_headers) relay_->add_header(name, value);
  if (net::find_header(headers, "x-request-id").empty()) relay_->add_header("x-request-id", id_);
  if (incoming_.header("x-braid-explain") == "1") {
    std::string why = router::to_json(*decision_);
    relay_->add_header("x-braid-explain", why.size() <= kLongestExplanation ? std::move(why) : "/debug/decisions/" + id_);
  }
  return true;
}

void Exchange::on_piece(std::int64_t events) {
  if (!first_piece_) {
    first_piece_ = core_.clock.now();
    core_.router->first_chunk(*flight_);
  }
  if (events > 0) core_.router->chunk(*flight_, events);
}

void Exchange::on_end(const RelayEnd& end) {
  const auto ended = std::exchange(relay_, nullptr);
  if (another_) return attempt();
  if (gone_) {
    core_.metrics.client_disconnects.add();
    return finish(kClientLeft, end);
  }
  if (evicted_) {
    if (end.begun) client_->abort();
    else answer_error(429, {ErrorCode::kResourceExhausted, "inference error: ResourceExhausted - ended for requests of higher priority", {}}, router::dropped::kEvicted, 1);
    return finish(429, end);
  }
  if (!end.begun && !end.status.ok()) return on_failure(end);
  if (!end.status.ok()) core_.metrics.broken_streams.add();
  finish(end.answered, end);
}

// The endpoint has given nothing that the client could have.
void Exchange::on_failure(const RelayEnd& end) {
  const router::EndpointId& endpoint = decision_->primary().id;
  const Error& error = end.status.error();
  const bool late = error.code == ErrorCode::kDeadlineExceeded;
  if (!late && end.answered == 0) core_.endpoints->set_alive(endpoint.host_port(), false);
  if (!late && try_other(endpoint, end.answered == 0 ? "unreachable" : "broken")) return attempt();
  const int status = late ? 504 : end.answered == 0 ? 503 : 502;
  answer_error(status, error, status == 503 ? router::dropped::kNoEndpoints : std::string_view(), status == 503 ? std::optional(1) : std::nullopt);
  finish(status, end);
}

bool Exchange::try_other(const router::EndpointId& failed, const std::string& why) {
  failed_.insert(failed.name);
  if (attempts_ >= core_.settings.http.max_attempts) return false;
  std::vector<router::Endpoint> others;
  for (const router::Endpoint& endpoint : core_.endpoints->usable()) {
    if (!failed_.contains(endpoint.id.name)) others.push_back(endpoint);
  }
  if (others.empty()) return false;
  auto decision = std::make_shared<router::Decision>(core_.router->decide(*request_, others));
  core_.decisions.add(id_, decision);
  if (!decision->ok()) return false;
  log_info("request tried elsewhere", {{"id", id_}, {"failed", failed.name}, {"why", why}, {"next", decision->primary().id.name}});
  core_.metrics.retries.with({why}).add();
  account(503);
  decision_->data.reset();
  decision_ = std::move(decision);
  return true;
}

void Exchange::answer_error(int status, const Error& error, std::string_view reason, std::optional<int> retry_after) {
  net::Response response{.status = status, .body = protocol::error_body(error, status)};
  response.headers.push_back({"x-request-id", id_});
  if (!reason.empty()) response.headers.push_back({std::string(router::dropped::kHeader), std::string(reason)});
  if (retry_after) response.headers.push_back({"retry-after", std::to_string(*retry_after)});
  client_->send(std::move(response));
}

void Exchange::account(int status, const Usage& usage) {
  if (!flight_) return;
  core_.in_flight.erase(*flight_);
  core_.router->done(*flight_, {.status = status, .prompt_tokens = usage.prompt_tokens, .output_tokens = usage.output_tokens, .cached_tokens = usage.cached_tokens});
  flight_.reset();
  core_.poll_soon();
}

void Exchange::finish(int status, const RelayEnd& end) {
  account(status, end.usage);
  if (decision_) decision_->data.reset();
  if (!core_.settings.http.access_log) return;
  const TimePoint now = core_.clock.now();
  log_info("request", {{"id", id_},
                       {"client", incoming_.peer},
                       {"request", incoming_.method + " " + incoming_.target},
                       {"model", request_ ? request_->model : ""},
                       {"endpoint", decision_ && decision_->ok() ? decision_->primary().id.name : ""},
                       {"prefill", decision_ && !decision_->prefill.empty() ? decision_->prefill.front().id.name : ""},
                       {"status", status},
                       {"attempts", attempts_},
                       {"queued_ms", decision_ ? milliseconds(decision_->queued) : 0.0},
                       {"first_byte_ms", first_piece_ ? milliseconds(*first_piece_ - began_) : 0.0},
                       {"total_ms", milliseconds(now - began_)},
                       {"bytes", end.bytes},
                       {"prompt_tokens", end.usage.prompt_tokens},
                       {"output_tokens", end.usage.output_tokens},
                       {"cached_tokens", end.usage.cached_tokens},
                       {"why", end.status.ok() ? std::string() : end.status.error().message}});
}

void Exchange::client_left() {
  gone_ = true;
  const auto self = shared_from_this();
  if (ticket_) {
    core_.router->cancel(*ticket_);
    core_.waiting.erase(*ticket_);
    core_.metrics.client_disconnects.add();
    finish(kClientLeft, {});
  }
  if (side_call_ != 0) core_.upstream->cancel(side_call_);
  if (relay_) relay_->cancel();
}

void Exchange::evict() {
  evicted_ = true;
  if (side_call_ != 0) core_.upstream->cancel(side_call_);
  if (relay_) relay_->cancel();
}

}  // namespace braid::gateway
