// SPDX-License-Identifier: Apache-2.0
#include "gateway/two_legs.h"

#include <utility>

#include "gateway/core.h"

namespace braid::gateway {
namespace {

constexpr std::size_t kLongestPrefillAnswer = 64u << 20;

std::string why(const Status& status) { return status.ok() ? std::string() : status.error().message; }

}  // namespace

Status TwoLegs::divide(std::string_view path, std::string_view body, bool early) {
  ASSIGN_OR_RETURN(prefill_body_, prefill_body(path, body, early));
  ask_early_ = early;
  id_ = new_request_id();
  return {};
}

void TwoLegs::reset() {
  drop_prefill();
  id_.clear();
  transfer_.reset();
  whole_.reset();
  early_ = left_ = false;
}

void TwoLegs::prefill(net::ClientPool& upstream, const std::string& server, const MakeWire& wire, std::shared_ptr<Owner> owner) {
  upstream_ = &upstream;
  transfer_.reset();
  whole_.reset();
  early_ = left_ = false;
  journey_.begin_leg("prefill", server, clock_.now());
  prefill_call_ = collect(upstream, wire(prefill_body_), kLongestPrefillAnswer,
                          [this, owner](Result<Collected> answer) { on_prefilled(std::move(answer), *owner); },
                          [this, owner](const std::vector<net::Header>& headers) { promised(headers, *owner); });
}

void TwoLegs::promised(const std::vector<net::Header>& headers, Owner& owner) {
  if (transfer_ || prefill_call_ == 0 || !ask_early_) return;
  transfer_ = read_early_answer(headers);
  early_ = transfer_.has_value();
  if (early_) owner.start_decode();
}

void TwoLegs::on_prefilled(Result<Collected> answer, Owner& owner) {
  if (std::exchange(prefill_call_, 0) == 0) return;
  journey_.end_leg("prefill", answer.ok() ? answer->status : 0, answer.ok() ? std::string() : answer.error().message, clock_.now());
  if (!answer.ok() || answer->status / 100 != 2) {
    const bool matters = !relay_ || !relay_->accepted();
    if (matters) drop_decode();
    return owner.prefill_failed(std::move(answer), matters);
  }
  PrefillAnswer told = read_prefill_answer(answer->body);
  owner.prefilled(told);
  if (relay_) whole_ = std::move(told);
  else decode_whole(std::move(told), owner);
}

void TwoLegs::decode_whole(PrefillAnswer told, Owner& owner) {
  early_ = left_ = false;
  transfer_ = std::move(told);
  owner.start_decode();
}

void TwoLegs::decode(net::ClientPool& upstream, Decode what, const MakeWire& wire, std::shared_ptr<Owner> owner) {
  journey_.begin_leg("decode", what.server, clock_.now());
  if (transfer_) {
    decode_body_ = *decode_body(what.body, transfer_->transfer);
    what.body = decode_body_;
    what.changes.cached_tokens = transfer_->cached_tokens;
  }
  relay_ = Relay::start(upstream, std::move(what.client), wire(what.body), what.changes,
                        {.on_head = [owner](int status, const auto& headers) { return owner->on_head(status, headers); },
                         .on_piece = [owner](std::int64_t events) { owner->on_piece(events); },
                         .on_writable = [owner] { owner->on_writable(); },
                         .on_end = [this, owner](const RelayEnd& end) { on_decoded(end, *owner); }});
}

bool TwoLegs::leave_to_prefill() {
  left_ = early_;
  return left_;
}

void TwoLegs::on_decoded(const RelayEnd& end, Owner& owner) {
  const auto relay = std::exchange(relay_, nullptr);
  if (!relay) return;  // dropped
  journey_.end_leg("decode", end.answered, why(end.status), clock_.now());
  if (left_ && !cancelled_) {
    if (prefill_call_ != 0) return;
    if (whole_) return decode_whole(*std::exchange(whole_, {}), owner);
  }
  owner.decoded(end);
}

void TwoLegs::drop_prefill() {
  const auto call = std::exchange(prefill_call_, 0);
  if (call == 0) return;
  journey_.end_leg("prefill", 0, {}, clock_.now());
  upstream_->cancel(call);
}

void TwoLegs::drop_decode() {
  left_ = false;
  const auto relay = std::exchange(relay_, nullptr);
  if (!relay) return;
  journey_.end_leg("decode", 0, "the prefill failed", clock_.now());
  relay->cancel();
}

void TwoLegs::cancel() {
  cancelled_ = true;
  if (relay_) {
    drop_prefill();
    relay_->cancel();
  } else if (prefill_call_ != 0) {
    upstream_->cancel(prefill_call_);
  }
}

}  // namespace braid::gateway
