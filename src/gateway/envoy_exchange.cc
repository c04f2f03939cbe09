// SPDX-License-Identifier: Apache-2.0
#include "gateway/envoy_exchange.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/log.h"
#include "gateway/headers.h"
#include "protocol/error_json.h"

namespace braid::gateway {
namespace {

using extproc::Part;
using extproc::Reply;

constexpr std::string_view kDestination = "x-gateway-destination-endpoint";
constexpr std::string_view kSubset = "x-gateway-destination-endpoint-subset";
constexpr std::string_view kServed = "x-gateway-destination-endpoint-served";
constexpr std::string_view kLoadBalancing = "envoy.lb";
constexpr std::string_view kSubsetHint = "envoy.lb.subset_hint";
constexpr std::size_t kLongestPiece = 62'000;  // of a body in one message: gateways take no more than 64 KiB

std::string values_of(const std::vector<extproc::Metadata>& metadata, std::string_view space, std::string_view key) {
  std::string joined;
  for (const extproc::Metadata& each : metadata) {
    if (each.space != space || each.key != key) continue;
    for (const std::string& value : each.values) joined.append(joined.empty() ? "" : ",").append(value);
  }
  return joined;
}

}  // namespace

void EnvoyExchange::on_message(extproc::Message message) {
  if (over_) return;
  switch (message.part) {
    case Part::kRequestHeaders: return on_request_headers(std::move(message));
    case Part::kRequestBody: return on_request_body(std::move(message));
    case Part::kRequestTrailers: has_trailers_ = true; return on_request_complete();
    case Part::kResponseHeaders: return on_response_headers(std::move(message));
    case Part::kResponseBody: return on_response_body(std::move(message));
    case Part::kResponseTrailers: return on_response_trailers();
  }
}

void EnvoyExchange::on_request_headers(extproc::Message message) {
  incoming_.method = router::find_header(message.headers, ":method");
  incoming_.path = router::find_header(message.headers, ":path");
  line_ = incoming_.method + " " + incoming_.path;
  peer_ = router::find_header(message.headers, "x-forwarded-for");
  for (auto& [name, value] : message.headers) {
    if (only_routers_set(name)) {
      client_routing_headers_.push_back(std::move(name));
    } else if (!name.starts_with(':')) {
      incoming_.headers.emplace_back(std::move(name), std::move(value));
    }
  }
  std::string subset = values_of(message.metadata, kSubsetHint, kSubset);
  if (!subset.empty()) incoming_.headers.emplace_back(kSubset, std::move(subset));
  if (message.end) on_request_complete();
}

void EnvoyExchange::on_request_body(extproc::Message message) {
  has_body_ = true;
  const std::size_t most = static_cast<std::size_t>(core_.settings.http.max_body_mib) << 20;
  if (incoming_.body.size() + message.body.size() > most) {
    return refused({413, invalid_argument("the request body is longer than " + std::to_string(most) + " bytes", "body"), {}, {}});
  }
  if (incoming_.body.empty()) {
    incoming_.body = std::move(message.body);
  } else {
    incoming_.body += message.body;
  }
  if (message.end) on_request_complete();
}

void EnvoyExchange::on_request_complete() {
  if (std::exchange(complete_, true)) return;
  enter(std::move(incoming_));
}

void EnvoyExchange::decided() {
  begin_flight();
  Reply head{.part = Part::kRequestHeaders, .set = headers_for(decision_->primary().id, true), .route_again = true};
  set_header(head.set, "x-request-id", id_);
  journey_.begin_leg("decode", decision_->primary().id.name, core_.clock.now());
  if (const std::string trace = journey_.traceparent(); !trace.empty()) set_header(head.set, tracing::kTraceParent, trace);
  for (std::string& name : client_routing_headers_) {
    if (router::find_header(head.set, name).empty()) head.remove.push_back(std::move(name));
  }
  head.metadata.push_back({std::string(kLoadBalancing), std::string(kDestination), {std::string(router::find_header(head.set, kDestination))}});
  std::vector<Reply> replies;
  const std::string_view bytes = body();
  if (has_body_) set_header(head.set, "content-length", std::to_string(bytes.size()));
  replies.push_back(std::move(head));
  if (has_body_) send_body(Part::kRequestBody, bytes, !has_trailers_, replies);
  if (has_trailers_) replies.push_back({.part = Part::kRequestTrailers});
  envoy_->reply(std::move(replies));
}

void EnvoyExchange::refused(const Refused& refused) {
  over_ = true;
  extproc::Answer answer{.status = refused.status, .headers = {{"content-type", "application/json"}},
                         .body = protocol::error_body(refused.error, refused.status), .details = "refused_by_endpoint_picker"};
  for (net::Header& h : headers_of(refused)) answer.headers.emplace_back(std::move(h.name), std::move(h.value));
  envoy_->answer(std::move(answer));
  finish({refused.status, bytes_, usage_.usage(), refused.error.message});
}

void EnvoyExchange::send_body(Part part, std::string_view bytes, bool end, std::vector<Reply>& replies) const {
  do {
    const std::string_view piece = bytes.substr(0, kLongestPiece);
    bytes.remove_prefix(piece.size());
    replies.push_back({.part = part, .body = std::string(piece), .end = end && bytes.empty()});
  } while (!bytes.empty());
}

void EnvoyExchange::served_by(const std::string& host_port) {
  auto& targets = decision_->decode;
  const auto served = std::find_if(targets.begin(), targets.end(), [&](const router::Target& t) { return t.id.host_port() == host_port; });
  if (served == targets.begin() || served == targets.end()) return;
  log_info("request served elsewhere", {{"id", id_}, {"decided", targets.front().id.name}, {"served", served->id.name}});
  core_.metrics.retries.with({"fallback"}).add();
  end_flight({.status = 503});
  std::rotate(targets.begin(), served, served + 1);
  begin_flight();
}

void EnvoyExchange::on_response_headers(extproc::Message message) {
  if (!flight_) return envoy_->reply({{.part = Part::kResponseHeaders}});
  answer_began_ = core_.clock.now();
  streams_ = router::find_header(message.headers, "content-type").starts_with("text/event-stream");
  const std::string_view status = router::find_header(message.headers, ":status");
  std::from_chars(status.data(), status.data() + status.size(), status_);
  if (const std::string served = values_of(message.metadata, kLoadBalancing, kServed); !served.empty()) served_by(served);
  Reply head{.part = Part::kResponseHeaders, .set = answer_headers(!router::find_header(message.headers, "x-request-id").empty())};
  if (renamed()) {
    rewriter_ = std::make_unique<AnswerRewriter>(AnswerChanges{.model_from = decision_->model, .model_to = request_->model, .cached_tokens = {}});
    head.remove.push_back("content-length");
  }
  envoy_->reply({std::move(head)});
  if (message.end) end_answer();
}

void EnvoyExchange::on_response_body(extproc::Message message) {
  const TimePoint before = core_.clock.now();
  const bool end = message.end;
  pass_on(std::move(message));
  processing_ += core_.clock.now() - before;
  if (end) end_answer();
}

void EnvoyExchange::pass_on(extproc::Message message) {
  bytes_ += static_cast<std::int64_t>(message.body.size());
  const std::int64_t events = usage_.feed(message.body);
  if (flight_ && !message.body.empty()) on_piece(events);
  std::string bytes = rewriter_ ? rewriter_->feed(message.body) : std::move(message.body);
  if (rewriter_ && message.end) bytes += rewriter_->finish();
  std::vector<Reply> replies;
  send_body(Part::kResponseBody, bytes, message.end, replies);
  envoy_->reply(std::move(replies));
}

void EnvoyExchange::on_response_trailers() {
  std::vector<Reply> replies;
  if (std::string rest = rewriter_ ? rewriter_->finish() : std::string(); !rest.empty()) send_body(Part::kResponseBody, rest, false, replies);
  replies.push_back({.part = Part::kResponseTrailers});
  envoy_->reply(std::move(replies));
  end_answer();
}

void EnvoyExchange::end_answer() {
  over_ = true;
  finish({status_, bytes_, usage_.usage(), {}, streams_ ? processing_ : core_.clock.now() - answer_began_});
}

void EnvoyExchange::on_closed() {
  if (std::exchange(over_, true)) return;
  if (!leave() && flight_) core_.metrics.client_disconnects.add();
  finish({kClientLeft, bytes_, usage_.usage(), "Envoy ended the stream"});
}

void EnvoyExchange::evict() { refused(for_more_urgent()); }

}  // namespace braid::gateway
