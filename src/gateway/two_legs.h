// SPDX-License-Identifier: Apache-2.0
// The two calls of a request that is prefilled on one server and decoded on another, for those who divide
// requests (exchange.h, divided_request.h):
//
//   prefill ──────────────────────────┬─ ends well: decode, unless it runs or has run ─▶
//      └─ tells early: decode at once ┘─ ends badly: prefill_failed(), and what decodes is dropped
//
// While both run, what the decode server answers counts only if the prefill does not fail. An error that the
// prefill may be the cause of (leave_to_prefill) is not the client's: had the prefill failed, its end tells; had
// it not, decoding begins once more with the parameters of the whole prompt. From the moment that an answer of
// the decode server is the client's, the prefill's end matters no longer.
// A request that is not divided has only the second leg.
// Thread rules: the event loop's thread only.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "gateway/collect.h"
#include "gateway/journey.h"
#include "gateway/relay.h"
#include "gateway/transfer_bodies.h"
#include "net/client_pool.h"

namespace braid::gateway {

class TwoLegs {
 public:
  // Whose request it is; legs keep it alive while they run.
  class Owner {
   public:
    virtual ~Owner() = default;
    // The prefill has ended well.
    virtual void prefilled(const PrefillAnswer& told) = 0;
    // It has not, or was cancelled. `matters`: no answer of the decode server is the client's, and none will be
    // before the owner begins another leg.
    virtual void prefill_failed(Result<Collected> answer, bool matters) = 0;
    // It is time for decode().
    virtual void start_decode() = 0;
    // Of the decode leg, as in Relay::Hooks; decoded() is the end of this request's legs unless it begins others.
    virtual bool on_head(int status, const std::vector<net::Header>& headers) = 0;
    virtual void on_piece(std::int64_t events) = 0;
    virtual void on_writable() = 0;
    virtual void decoded(const RelayEnd& end) = 0;
  };
  // Makes a leg's request, with this body, when the journey has begun it.
  using MakeWire = std::function<net::PoolRequest(std::string_view body)>;

  // Both outlive it.
  TwoLegs(Journey& journey, const Clock& clock) : journey_(journey), clock_(clock) {}

  // This request will be prefilled elsewhere. `early` as of prefill_body(). Errors: its body is not one JSON object.
  Status divide(std::string_view path, std::string_view body, bool early);
  // x-request-id of both legs; empty: it is not divided.
  const std::string& id() const { return id_; }
  // As if nothing had been begun.
  void reset();

  // Begins the first leg. REQUIRES: divide() was called, and neither leg runs.
  void prefill(net::ClientPool& upstream, const std::string& server, const MakeWire& wire, std::shared_ptr<Owner> owner);
  bool prefilling() const { return prefill_call_ != 0; }

  // Begins the second one, with `body` or what the prefill told in it; the body must stay until the end.
  struct Decode {
    std::string server;
    std::string_view body;
    AnswerChanges changes;
    std::shared_ptr<net::ResponseWriter> client;
  };
  void decode(net::ClientPool& upstream, Decode what, const MakeWire& wire, std::shared_ptr<Owner> owner);
  // Null: it does not run.
  Relay* relay() const { return relay_.get(); }
  // In on_head(), of an error of the decode server. True: it is not the client's, and on_head() is false.
  bool leave_to_prefill();

  // The prefill is no longer wanted, and its end not told.
  void drop_prefill();
  // Nothing is. One end is told: of the decode leg if it runs, else of the prefill.
  void cancel();

 private:
  void promised(const std::vector<net::Header>& headers, Owner& owner);
  void on_prefilled(Result<Collected> answer, Owner& owner);
  void on_decoded(const RelayEnd& end, Owner& owner);
  void decode_whole(PrefillAnswer told, Owner& owner);
  void drop_decode();

  Journey& journey_;
  const Clock& clock_;
  net::ClientPool* upstream_ = nullptr;
  std::string id_;
  bool ask_early_ = false;
  std::string prefill_body_;
  std::string decode_body_;
  std::optional<PrefillAnswer> transfer_;  // told, what decoding begins with
  std::optional<PrefillAnswer> whole_;     // told at the prefill's end, while decoding has begun from an early answer
  bool early_ = false;                     // decoding began before the prefill's end, which may be why it fails
  bool left_ = false;                      // its error, to the prefill
  bool cancelled_ = false;
  net::ClientPool::CallId prefill_call_ = 0;
  std::shared_ptr<Relay> relay_;
};

}  // namespace braid::gateway
