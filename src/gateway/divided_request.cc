// SPDX-License-Identifier: Apache-2.0
#include "gateway/divided_request.h"

#include <algorithm>
#include <random>
#include <utility>

#include "base/log.h"
#include "gateway/core.h"
#include "gateway/headers.h"
#include "protocol/json_text.h"

namespace braid::gateway {
namespace {

constexpr std::string_view kPrefillers = "x-prefiller-host-port";
constexpr std::string_view kRank = "x-data-parallel-rank";
constexpr std::string_view kDecoder = "x-data-parallel-host-port";

const char* type_of(int status) {
  switch (status) {
    case 400: return "BadRequestError";
    case 403: return "Forbidden";
    case 502: return "BadGateway";
    case 503: return "ServiceUnavailable";
    case 504: return "GatewayTimeout";
    default: return "InternalServerError";
  }
}

std::size_t any_of_first(std::size_t count) {
  thread_local std::minstd_rand random(std::random_device{}());
  return std::uniform_int_distribution<std::size_t>(0, count - 1)(random);
}

}  // namespace

DividedRequest::DividedRequest(SidecarCore& core, int rank, net::Request&& request, std::shared_ptr<net::ResponseWriter> client)
    : core_(core), client_(std::move(client)), request_(std::move(request)), decoder_port_(core.decoder_ports[static_cast<std::size_t>(rank)]),
      journey_("sidecar", core.tracer.get(), core.clock.now()), legs_(journey_, core.clock) {}

void DividedRequest::start() {
  journey_.enter(std::string(request_.header("x-request-id")), request_.method + " " + request_.target, request_.header(tracing::kTraceParent));
  client_->on_close([self = weak_from_this()] {
    const auto request = self.lock();
    if (!request) return;
    request->gone_ = true;
    request->legs_.cancel();
  });
  if (const std::string_view decoder = request_.header(kDecoder); !decoder.empty()) {
    const auto where = parse_host_port(decoder);
    const auto rank = where.ok() ? where->port - core_.settings.port : -1;
    if (rank < 0 || rank >= static_cast<int>(core_.decoder_ports.size())) return answer_error(400, "x-data-parallel-host-port names no rank of this server");
    decoder_port_ = core_.decoder_ports[static_cast<std::size_t>(rank)];
  }
  const std::string_view prefillers = request_.header(kPrefillers);
  if (prefillers.empty() || !can_be_divided(request_.path())) return start_decode();
  if (const Status status = read_prefillers(prefillers); !status.ok()) return answer_error(400, status.error().message);
  for (const HostPort& prefiller : prefillers_) {
    if (core_.allowed && !core_.allowed->allows(prefiller)) return answer_error(403, "Forbidden: prefill target not allowed by SSRF protection");
  }
  if (const Status divided = legs_.divide(request_.path(), request_.body, core_.settings.early_transfer); !divided.ok()) return answer_error(400, divided.error().message);
  if (core_.settings.enable_prefiller_sampling) next_ = any_of_first(prefillers_.size());
  prefill();
}

Status DividedRequest::read_prefillers(std::string_view header) {
  while (!header.empty()) {
    const std::size_t comma = header.find(',');
    std::string_view one = header.substr(0, comma);
    while (one.starts_with(' ')) one.remove_prefix(1);
    while (one.ends_with(' ')) one.remove_suffix(1);
    ASSIGN_OR_RETURN(HostPort where, parse_host_port(one));
    prefillers_.push_back(std::move(where));
    header.remove_prefix(comma == header.npos ? header.size() : comma + 1);
  }
  return {};
}

net::PoolRequest DividedRequest::wire_to(const std::string& host, int port, std::string_view body) const {
  router::EndpointId id;
  id.address = host;
  id.port = port;
  net::PoolRequest wire = request_to(id, core_.settings.http);
  wire.method = request_.method;
  wire.target = request_.target;
  wire.body = body;
  router::HeaderList headers = from_client(request_);
  if (const std::string_view rank = request_.header(kRank); !rank.empty()) set_header(headers, kRank, rank);
  if (!legs_.id().empty()) set_header(headers, "x-request-id", legs_.id());
  if (const std::string trace = journey_.traceparent(); !trace.empty()) set_header(headers, tracing::kTraceParent, trace);
  wire.headers = to_wire(headers);
  return wire;
}

void DividedRequest::prefill() {
  const HostPort& where = prefillers_[next_ % prefillers_.size()];
  ++tries_;
  legs_.prefill(*core_.upstream, where.host + ":" + std::to_string(where.port),
                [&](std::string_view body) { return wire_to(where.host, where.port, body); }, shared_from_this());
}

void DividedRequest::prefilled(const PrefillAnswer& told) {
  if (told.transfer.empty()) log_warning("the prefill's answer has no kv_transfer_params: decoding computes all", {{"id", legs_.id()}});
}

void DividedRequest::prefill_failed(Result<Collected> answer, bool matters) {
  if (gone_) return finish(0, "the client left");
  if (!matters) return;
  const bool failed = !answer.ok() || answer->status == 502 || answer->status == 503 || answer->status == 504;
  if (failed && tries_ <= core_.settings.prefill_max_retries) return prefill_again(answer);
  if (!answer.ok()) return answer_error(503, "prefill failed: " + answer.error().message, true);
  finish(answer->status, {});
  client_->send({.status = answer->status, .content_type = std::string(net::find_header(answer->headers, "content-type")),
                 .headers = from_endpoint(answer->headers), .body = std::move(answer->body)});
}

void DividedRequest::prefill_again(const Result<Collected>& failed) {
  const HostPort& where = prefillers_[next_++ % prefillers_.size()];
  log_warning("prefill tried again", {{"failed", where.host + ":" + std::to_string(where.port)},
                                      {"why", failed.ok() ? "status " + std::to_string(failed->status) : failed.error().message}});
  if (prefillers_.size() > 1) return prefill();
  core_.loop->after(std::chrono::milliseconds(core_.settings.prefill_retry_backoff_ms), [self = shared_from_this()] {
    if (!self->gone_) self->prefill();
  });
}

void DividedRequest::start_decode() {
  legs_.decode(*core_.upstream, {"127.0.0.1:" + std::to_string(decoder_port_), request_.body, {}, client_},
               [&](std::string_view body) { return wire_to("127.0.0.1", decoder_port_, body); }, shared_from_this());
}

bool DividedRequest::on_head(int status, const std::vector<net::Header>&) { return status < 500 || !legs_.leave_to_prefill(); }

void DividedRequest::decoded(const RelayEnd& end) {
  legs_.drop_prefill();
  if (!gone_ && !end.begun && !end.status.ok()) {
    const Error& error = end.status.error();
    const bool late = error.code == ErrorCode::kDeadlineExceeded;
    answer_error(late ? 504 : end.answered == 0 ? 503 : 502, "decode failed: " + error.message, end.answered == 0);
  }
  finish(end.answered, end.status.ok() ? std::string() : end.status.error().message);
  if (!core_.settings.http.access_log) return;
  log_info("request", {{"client", request_.peer},
                       {"request", request_.method + " " + request_.target},
                       {"id", legs_.id()},
                       {"status", end.answered},
                       {"prefills", tries_},
                       {"bytes", end.bytes}});
}

void DividedRequest::finish(int status, const std::string& why) {
  journey_.end({.status = status, .attempts = std::max(tries_, 1), .why = why}, core_.clock.now());
}

void DividedRequest::answer_error(int status, const std::string& message, bool retry_later) {
  finish(status, message);
  net::Response response{.status = status};
  response.body = "{\"object\":\"error\",\"message\":" + protocol::json_string(message) + ",\"type\":\"" + type_of(status) +
                  "\",\"param\":null,\"code\":" + std::to_string(status) + "}";
  if (retry_later) response.headers.push_back({"retry-after", "1"});
  client_->send(std::move(response));
}

}  // namespace braid::gateway
