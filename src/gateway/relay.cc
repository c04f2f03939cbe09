// SPDX-License-Identifier: Apache-2.0
#include "gateway/relay.h"

#include <charconv>
#include <utility>

#include "gateway/headers.h"
#include "protocol/error_json.h"

namespace braid::gateway {
namespace {

constexpr std::size_t kShortAnswer = 256u << 10;
constexpr std::size_t kMostUnread = 256u << 10;  // by the client

std::size_t length_of(const std::vector<net::Header>& headers) {
  const std::string_view text = net::find_header(headers, "content-length");
  std::size_t length = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
  return text.empty() || error != std::errc() ? std::string::npos : length;
}

}  // namespace

Relay::Relay(net::ClientPool& upstream, std::shared_ptr<net::ResponseWriter> client, const AnswerChanges& changes, Hooks hooks)
    : upstream_(upstream), client_(std::move(client)), rewriter_(changes), hooks_(std::move(hooks)) {}

std::shared_ptr<Relay> Relay::start(net::ClientPool& upstream, std::shared_ptr<net::ResponseWriter> client, net::PoolRequest request,
                                    const AnswerChanges& changes, Hooks hooks) {
  std::shared_ptr<Relay> relay(new Relay(upstream, std::move(client), changes, std::move(hooks)));
  relay->call_ = upstream.start(std::move(request), {.on_head = [relay](int status, const auto& h) { relay->on_head(status, h); },
                                                     .on_data = [raw = relay.get()](std::string_view data) { raw->on_data(data); },
                                                     .on_writable = [raw = relay.get()] { if (raw->hooks_.on_writable) raw->hooks_.on_writable(); },
                                                     .on_done = [relay](Status status) { relay->on_done(std::move(status)); }});
  return relay;
}

void Relay::cancel() { upstream_.cancel(call_); }

void Relay::on_head(int status, const std::vector<net::Header>& headers) {
  end_.answered = status;
  if (!hooks_.on_head(status, headers)) return upstream_.cancel(call_);
  accepted_ = true;
  began_ = std::chrono::steady_clock::now();
  head_.status = status;
  head_.content_type = net::find_header(headers, "content-type");
  head_.headers = from_endpoint(headers);
  head_.headers.insert(head_.headers.end(), std::make_move_iterator(headers_.begin()), std::make_move_iterator(headers_.end()));
  events_ = head_.content_type.starts_with("text/event-stream");
  whole_ = !events_ && (status == 204 || status == 304 || length_of(headers) <= kShortAnswer);
  if (whole_) return;
  end_.begun = true;
  client_->begin(std::move(head_));
}

void Relay::on_data(std::string_view data) {
  if (!accepted_) return;
  if (!events_) return take(data);
  const TimePoint before = std::chrono::steady_clock::now();
  take(data);
  end_.processing += std::chrono::steady_clock::now() - before;
}

void Relay::take(std::string_view data) {
  end_.bytes += static_cast<std::int64_t>(data.size());
  hooks_.on_piece(usage_.feed(data));
  if (whole_) {
    head_.body += data;
  } else {
    write(rewriter_.idle() ? std::string(data) : rewriter_.feed(data));
  }
}

void Relay::write(std::string bytes) {
  if (bytes.empty()) return;
  last_byte_ = bytes.back();
  client_->write(std::move(bytes));
  if (client_->buffered() <= kMostUnread) return;
  upstream_.pause(call_);
  client_->on_drained([relay = weak_from_this()] {
    if (const auto self = relay.lock()) self->upstream_.resume(self->call_);
  });
}

void Relay::on_done(Status status) {
  end_.status = std::move(status);
  end_.usage = usage_.usage();
  if (accepted_ && !events_) end_.processing = std::chrono::steady_clock::now() - began_;
  if (end_.begun && end_.status.ok()) {
    write(rewriter_.finish());
    client_->end();
  } else if (end_.begun && end_.status.error().code != ErrorCode::kCancelled) {
    break_off(end_.status.error());
  } else if (whole_ && end_.status.ok()) {
    if (!rewriter_.idle()) {
      std::string changed = rewriter_.feed(head_.body);
      head_.body = changed + rewriter_.finish();
    }
    end_.begun = true;
    client_->send(std::move(head_));
  }
  hooks_.on_end(end_);
  hooks_ = {};
}

void Relay::break_off(const Error& error) {
  if (!events_) return client_->abort();
  const int status = error.code == ErrorCode::kDeadlineExceeded ? 504 : 502;
  write((last_byte_ == '\n' ? "data: " : "\n\ndata: ") + protocol::error_body(error.within("the answer broke off"), status) + "\n\n");
  client_->end();
}

}  // namespace braid::gateway
