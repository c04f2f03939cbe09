// SPDX-License-Identifier: Apache-2.0
// What every front door does alike with a request:
//
//   enter -> read -> [token ids] -> admitted -> decided or refused -> begin_flight -> finish
//
// The proxy of our own (exchange.h) and Envoy's external processing (envoy_exchange.h) are derived.
// Thread rules: the event loop's thread only.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "gateway/core.h"
#include "gateway/usage.h"
#include "router/router.h"

namespace braid::gateway {

// In the log and in metrics, as other proxies say it.
inline constexpr int kClientLeft = 499;

class Passage : public std::enable_shared_from_this<Passage> {
 public:
  virtual ~Passage() = default;

  // The decision of a request that waited in flow control.
  void settle(router::Decision decision);
  // More urgent requests need its place.
  virtual void evict() = 0;

 protected:
  struct Refused {
    int status = 503;
    Error error;
    std::string_view reason;  // one of router::dropped, or ""
    std::optional<int> retry_after_s;
  };
  struct Finish {
    int status = 0;
    std::int64_t bytes = 0;
    Usage usage;
    std::string why;  // it went wrong, or ""
    Duration processing{};  // of the answer
  };

  static Refused for_more_urgent();  // of what is evicted

  explicit Passage(Core& core) : core_(core), began_(core.clock.now()), journey_("route", core.tracer.get(), began_) {}

  // Ends in decided() or refused(), at once or later.
  void enter(router::IncomingRequest incoming);
  virtual void decided() = 0;  // decision_ is ok
  virtual void refused(const Refused& refused) = 0;
  // The client has left: nothing that waits comes any more. True: it had not been decided.
  bool leave();

  // Headers of a refusal beside content-type.
  std::vector<net::Header> headers_of(const Refused& refused) const;
  // What to set on the request for `endpoint`.
  router::HeaderList headers_for(const router::EndpointId& endpoint, bool name_prefiller) const;
  // What the client's answer gets, when the endpoint's has `headers`.
  router::HeaderList answer_headers(bool has_request_id) const;
  // The body that the endpoint gets.
  std::string_view body();
  bool renamed() const { return !decision_->model.empty() && decision_->model != request_->model; }

  // Its endpoint has left and there is none beside it: with flow control it may wait for the next one.
  bool may_wait() const;
  // Does so; ends in decided() or refused(), at once or later.
  void wait_for_another();

  void begin_flight();
  void on_piece(std::int64_t events);  // of the answer
  void end_flight(const Finish& ending);
  // Ends the flight, and tells the log.
  void finish(const Finish& ending);

  Core& core_;
  const TimePoint began_;
  std::string id_;  // x-request-id
  std::string peer_;
  std::string line_;  // "POST /v1/completions", for the log
  std::shared_ptr<router::RoutedRequest> request_;
  std::shared_ptr<router::Decision> decision_;
  std::optional<router::FlightId> flight_;
  int attempts_ = 0;
  Journey journey_;

 private:
  void fetch_tokens(const router::TokenSource& source);
  void submit();
  void take(router::Router::Submission submission);

  std::optional<router::Ticket> ticket_;
  std::optional<TimePoint> first_piece_;
  std::string renamed_body_;
  net::ClientPool::CallId token_call_ = 0;
};

}  // namespace braid::gateway
