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

constexpr std::size_t kLongestPrefillAnswer = 64u << 20;
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
      journey_("sidecar", core.tracer.get(), core.clock.now()) {}

void DividedRequest::start() {
  journey_.enter(std::string(request_.header("x-request-id")), request_.method + " " + request_.target, request_.header(tracing::kTraceParent));
  client_->on_close([self = weak_from_this()] {
    const auto request = self.lock();
    if (!request) return;
    request->gone_ = true;
    request->drop_prefill();
    if (request->relay_) request->relay_->cancel();
  });
  if (const std::string_view decoder = request_.header(kDecoder); !decoder.empty()) {
    const auto where = parse_host_port(decoder);
    const auto rank = where.ok() ? where->port - core_.settings.port : -1;
    if (rank < 0 || rank >= static_cast<int>(core_.decoder_ports.size())) return answer_error(400, "x-data-parallel-host-port names no rank of this server");
    decoder_port_ = core_.decoder_ports[static_cast<std::size_t>(rank)];
  }
  const std::string_view prefillers = request_.header(kPrefillers);
  if (prefillers.empty() || !can_be_divided(request_.path())) return decode();
  if (const Status status = read_prefillers(prefillers); !status.ok()) return answer_error(400, status.error().message);
  for (const HostPort& prefiller : prefillers_) {
    if (core_.allowed && !core_.allowed->allows(prefiller)) return answer_error(403, "Forbidden: prefill target not allowed by SSRF protection");
  }
  leg_id_ = new_request_id();
  auto body = prefill_body(request_.path(), request_.body, core_.settings.early_transfer);
  if (!body.ok()) return answer_error(400, body.error().message);
  prefill_body_ = std::move(*body);
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
  if (!leg_id_.empty()) set_header(headers, "x-request-id", leg_id_);
  if (const std::string trace = journey_.traceparent(); !trace.empty()) set_header(headers, tracing::kTraceParent, trace);
  wire.headers = to_wire(headers);
  return wire;
}

void DividedRequest::prefill() {
  const HostPort& where = prefillers_[next_ % prefillers_.size()];
  ++tries_;
  transfer_.reset();
  whole_.reset();
  early_ = false;
  journey_.begin_leg("prefill", where.host + ":" + std::to_string(where.port), core_.clock.now());
  prefill_call_ = collect(*core_.upstream, wire_to(where.host, where.port, prefill_body_), kLongestPrefillAnswer,
                          [self = shared_from_this()](Result<Collected> answer) { self->prefilled(std::move(answer)); },
                          [self = shared_from_this()](const std::vector<net::Header>& headers) { self->promised(headers); });
}

void DividedRequest::promised(const std::vector<net::Header>& headers) {
  if (transfer_ || prefill_call_ == 0 || !core_.settings.early_transfer) return;
  transfer_ = read_early_answer(headers);
  early_ = transfer_.has_value();
  if (early_) decode();
}

void DividedRequest::decode_whole(PrefillAnswer told) {
  early_ = decode_failed_ = false;
  transfer_ = std::move(told);
  decode();
}

void DividedRequest::drop_prefill() {
  const auto call = std::exchange(prefill_call_, 0);
  if (call == 0) return;
  journey_.end_leg("prefill", 0, {}, core_.clock.now());
  core_.upstream->cancel(call);
}

void DividedRequest::drop_decode() {
  decode_failed_ = false;
  const auto relay = std::exchange(relay_, nullptr);
  if (!relay) return;
  journey_.end_leg("decode", 0, "the prefill failed", core_.clock.now());
  relay->cancel();
}

void DividedRequest::prefilled(Result<Collected> answer) {
  if (std::exchange(prefill_call_, 0) == 0) return;
  journey_.end_leg("prefill", answer.ok() ? answer->status : 0, answer.ok() ? std::string() : answer.error().message, core_.clock.now());
  if (gone_ || (relay_ && relay_->accepted())) return;
  const bool failed = !answer.ok() || answer->status == 502 || answer->status == 503 || answer->status == 504;
  if (failed || answer->status / 100 != 2) drop_decode();
  if (failed && tries_ <= core_.settings.prefill_max_retries) {
    const HostPort& where = prefillers_[next_++ % prefillers_.size()];
    log_warning("prefill tried again", {{"failed", where.host + ":" + std::to_string(where.port)},
                                        {"why", answer.ok() ? "status " + std::to_string(answer->status) : answer.error().message}});
    if (prefillers_.size() > 1) return prefill();
    return core_.loop->after(std::chrono::milliseconds(core_.settings.prefill_retry_backoff_ms), [self = shared_from_this()] {
      if (!self->gone_) self->prefill();
    });
  }
  if (!answer.ok()) return answer_error(503, "prefill failed: " + answer.error().message, true);
  if (answer->status / 100 != 2) {
    finish(answer->status, {});
    return client_->send({.status = answer->status, .content_type = std::string(net::find_header(answer->headers, "content-type")),
                          .headers = from_endpoint(answer->headers), .body = std::move(answer->body)});
  }
  auto told = read_prefill_answer(answer->body);
  if (told.transfer.empty()) log_warning("the prefill's answer has no kv_transfer_params: decoding computes all", {{"id", leg_id_}});
  if (relay_) whole_ = std::move(told);
  else decode_whole(std::move(told));
}

void DividedRequest::decode() {
  AnswerChanges changes;
  if (transfer_) {
    changes.cached_tokens = transfer_->cached_tokens;
    decode_body_ = *decode_body(request_.body, transfer_->transfer);
  }
  journey_.begin_leg("decode", "127.0.0.1:" + std::to_string(decoder_port_), core_.clock.now());
  const auto self = shared_from_this();
  relay_ = Relay::start(*core_.upstream, client_, wire_to("127.0.0.1", decoder_port_, transfer_ ? decode_body_ : request_.body), changes,
                        {.on_head = [self](int status, const auto&) { return !(self->decode_failed_ = self->early_ && status >= 500); },
                         .on_piece = [](std::int64_t) {},
                         .on_end = [self](const RelayEnd& end) { self->on_end(end); }});
}

void DividedRequest::on_end(const RelayEnd& end) {
  const auto ended = std::exchange(relay_, nullptr);
  if (!ended) return;  // dropped
  journey_.end_leg("decode", end.answered, end.status.ok() ? std::string() : end.status.error().message, core_.clock.now());
  if (decode_failed_ && prefill_call_ != 0) return;  // prefilled() tells why
  if (decode_failed_ && whole_ && !gone_) return decode_whole(*std::exchange(whole_, {}));
  drop_prefill();
  if (!gone_ && !end.begun && !end.status.ok()) {
    const Error& error = end.status.error();
    const bool late = error.code == ErrorCode::kDeadlineExceeded;
    answer_error(late ? 504 : end.answered == 0 ? 503 : 502, "decode failed: " + error.message, end.answered == 0);
  }
  finish(end.answered, end.status.ok() ? std::string() : end.status.error().message);
  if (!core_.settings.http.access_log) return;
  log_info("request", {{"client", request_.peer},
                       {"request", request_.method + " " + request_.target},
                       {"id", leg_id_},
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
