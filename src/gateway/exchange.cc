// SPDX-License-Identifier: Apache-2.0
#include "gateway/exchange.h"

#include <charconv>
#include <utility>

#include "base/log.h"
#include "gateway/headers.h"
#include "protocol/error_json.h"

namespace braid::gateway {
namespace {

constexpr std::size_t kShortBody = 256u << 10;
constexpr std::size_t kMostUnsent = 256u << 10;  // of a body that streams

bool cannot_serve_now(int status) { return status == 429 || status == 502 || status == 503; }

// A server that shuts down says so.
bool leaves(const std::vector<net::Header>& headers) { return net::find_header(headers, router::dropped::kHeader) == router::dropped::kShuttingDown; }

}  // namespace

bool streams_body(const net::Request& head) {
  if (router::api_of(head.path()) != router::Api::kNone) return false;
  const std::string_view length = head.header("content-length");
  std::size_t bytes = 0;
  std::from_chars(length.data(), length.data() + length.size(), bytes);
  return length.empty() || bytes > kShortBody;
}

Exchange::Exchange(Core& core, net::Request&& request, std::shared_ptr<net::ResponseWriter> client)
    : Passage(core), client_(std::move(client)), incoming_(std::move(request)), stream_(incoming_.stream), legs_(journey_, core.clock) {
  peer_ = incoming_.peer;
  line_ = incoming_.method + " " + incoming_.target;
}

void Exchange::start() {
  client_->on_close([weak = weak_from_this()] {
    if (const auto passage = weak.lock()) static_cast<Exchange&>(*passage).client_left();
  });
  enter({incoming_.method, std::string(incoming_.path()), from_client(incoming_), std::move(incoming_.body)});
}

void Exchange::refused(const Refused& refused) {
  client_->send({.status = refused.status, .headers = headers_of(refused), .body = protocol::error_body(refused.error, refused.status)});
  end(refused.status, {});
}

void Exchange::attempt() {
  legs_.reset();
  another_ = false;
  begin_flight();
  const bool divide = !decision_->prefill.empty() && core_.settings.disaggregation == "proxy" && can_be_divided(request_->path);
  if (divide) return prefill();
  start_decode();
}

net::PoolRequest Exchange::wire_to(const router::EndpointId& endpoint, std::string_view body) const {
  net::PoolRequest wire = request_to(endpoint, core_.settings.http);
  wire.method = incoming_.method;
  wire.target = incoming_.target;
  wire.body = body;
  wire.streams_body = stream_ != nullptr;
  if (stream_) wire.body_length = stream_->length();
  router::HeaderList headers = request_->headers;
  for (const auto& [name, value] : headers_for(endpoint, core_.settings.disaggregation == "header")) set_header(headers, name, value);
  if (!legs_.id().empty()) set_header(headers, "x-request-id", legs_.id());
  if (const std::string trace = journey_.traceparent(); !trace.empty()) set_header(headers, tracing::kTraceParent, trace);
  wire.headers = to_wire(headers);
  return wire;
}

void Exchange::prefill() {
  const router::EndpointId& endpoint = decision_->prefill.front().id;
  if (const Status divided = legs_.divide(request_->path, body(), core_.settings.early_transfer); !divided.ok()) return refused({400, divided.error(), {}, {}});
  legs_.prefill(*core_.upstream, endpoint.name, [&](std::string_view bytes) { return wire_to(endpoint, bytes); }, self());
}

void Exchange::prefilled(const PrefillAnswer& told) {
  core_.metrics.prefills.with({told.transfer.empty() ? "without_transfer" : "done"}).add();
}

void Exchange::prefill_failed(Result<Collected> answer, bool matters) {
  if (gone_ || evicted_) return decoded({.status = Error{ErrorCode::kCancelled, "cancelled", {}}});
  const router::EndpointId endpoint = decision_->prefill.front().id;
  const bool refuses = answer.ok() && !cannot_serve_now(answer->status) && answer->status != 504;
  core_.metrics.prefills.with({refuses ? "refused" : "failed"}).add();
  if (!answer.ok() && answer.error().code == ErrorCode::kUnavailable) core_.endpoints->set_alive(endpoint.host_port(), false);
  if (answer.ok() && leaves(answer->headers)) core_.endpoints->set_leaving(endpoint.host_port());
  if (!matters) return;
  if (refuses) {
    client_->send({.status = answer->status, .content_type = std::string(net::find_header(answer->headers, "content-type")),
                   .headers = from_endpoint(answer->headers), .body = std::move(answer->body)});
    return end(answer->status, {});
  }
  if (goes_on(endpoint, "prefill")) return;
  const std::string why = answer.ok() ? endpoint.host_port() + " answered " + std::to_string(answer->status) : answer.error().message;
  refused({503, {ErrorCode::kUnavailable, "prefill failed: " + why, {}}, router::dropped::kNoEndpoints, 1});
}

void Exchange::start_decode() {
  const router::EndpointId& endpoint = decision_->primary().id;
  if (!core_.endpoints->has(endpoint)) {
    if (goes_on(endpoint, "left the pool")) return;
    return refused({503, {ErrorCode::kUnavailable, "endpoint " + endpoint.name + " has left the pool; try again", {}}, router::dropped::kNoEndpoints, 1});
  }
  AnswerChanges changes;
  if (renamed()) changes = {.model_from = decision_->model, .model_to = request_->model};
  legs_.decode(*core_.upstream, {endpoint.name, body(), changes, client_}, [&](std::string_view bytes) { return wire_to(endpoint, bytes); }, self());
}

void Exchange::on_writable() {
  if (std::exchange(body_begun_, true)) return stream_->resume();
  const std::weak_ptr<Exchange> weak = self();
  stream_->start([weak](std::string_view data) {
    const auto exchange = weak.lock();
    if (exchange && exchange->legs_.relay() && exchange->legs_.relay()->send(data) > kMostUnsent) exchange->stream_->pause();
  }, [weak] {
    const auto exchange = weak.lock();
    if (exchange && exchange->legs_.relay()) exchange->legs_.relay()->end_body();
  });
}

bool Exchange::on_head(int status, const std::vector<net::Header>& headers) {
  if (status >= 500 && !cannot_serve_now(status) && legs_.leave_to_prefill()) return false;
  if (cannot_serve_now(status)) {
    const router::EndpointId& endpoint = decision_->primary().id;
    if (leaves(headers)) core_.endpoints->set_leaving(endpoint.host_port());
    another_ = try_other(endpoint, "status " + std::to_string(status));
    will_wait_ = !another_ && !body_begun_ && may_wait();
    if (another_ || will_wait_) return false;
  }
  for (auto& [name, value] : answer_headers(!net::find_header(headers, "x-request-id").empty())) legs_.relay()->add_header(name, value);
  return true;
}

void Exchange::decoded(const RelayEnd& ended) {
  if (another_) return attempt();
  if (std::exchange(will_wait_, false) && !gone_ && !evicted_) return wait_for_another();
  if (gone_) {
    core_.metrics.client_disconnects.add();
    return end(kClientLeft, ended);
  }
  if (evicted_) {
    if (!ended.begun) return refused(for_more_urgent());
    client_->abort();
    return end(429, ended);
  }
  if (!ended.begun && !ended.status.ok()) return on_failure(ended);
  if (!ended.status.ok()) core_.metrics.broken_streams.add();
  end(ended.answered, ended);
}

// The endpoint has given nothing that the client could have.
void Exchange::on_failure(const RelayEnd& ended) {
  const router::EndpointId& endpoint = decision_->primary().id;
  const Error& error = ended.status.error();
  const bool late = error.code == ErrorCode::kDeadlineExceeded;
  if (!late && ended.answered == 0) core_.endpoints->set_alive(endpoint.host_port(), false);
  if (!late && goes_on(endpoint, ended.answered == 0 ? "unreachable" : "broken")) return;
  const int status = late ? 504 : ended.answered == 0 ? 503 : 502;
  Refused refused{status, error, {}, {}};
  if (status == 503) refused = {status, error, router::dropped::kNoEndpoints, 1};
  client_->send({.status = status, .headers = headers_of(refused), .body = protocol::error_body(error, status)});
  end(status, ended);
}

bool Exchange::goes_on(const router::EndpointId& failed, const std::string& why) {
  if (try_other(failed, why)) {
    attempt();
    return true;
  }
  if (body_begun_ || !may_wait()) return false;
  failed_.clear();
  wait_for_another();
  return true;
}

bool Exchange::try_other(const router::EndpointId& failed, const std::string& why) {
  failed_.insert(failed.name);
  if (attempts_ >= core_.settings.http.max_attempts || body_begun_) return false;
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
  end_flight({.status = 503});
  decision_->data.reset();
  decision_ = std::move(decision);
  return true;
}

void Exchange::end(int status, const RelayEnd& end) {
  if (legs_.prefilling() && status / 100 == 2) core_.metrics.prefills.with({"done"}).add();  // its own answer is only late
  legs_.drop_prefill();
  finish({status, end.bytes, end.usage, end.status.ok() ? std::string() : end.status.error().message, end.processing});
}

void Exchange::client_left() {
  gone_ = true;
  const auto keep = shared_from_this();
  if (leave()) return end(kClientLeft, {});
  cancel();
}

void Exchange::evict() {
  evicted_ = true;
  cancel();
}

void Exchange::cancel() {
  const auto keep = shared_from_this();
  legs_.cancel();
}

}  // namespace braid::gateway
