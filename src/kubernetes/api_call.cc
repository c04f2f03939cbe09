// SPDX-License-Identifier: Apache-2.0
#include "kubernetes/api_call.h"

#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <future>
#include <optional>

namespace braid::kubernetes {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr auto kConnectTimeout = std::chrono::seconds(10);
constexpr std::size_t kPiece = 64u << 10;

Status load(asio::ssl::context& context, const ApiServer& server) {
  error_code ec;
  if (server.authorities.empty()) {
    context.set_default_verify_paths(ec);
  } else {
    context.add_certificate_authority(asio::buffer(server.authorities), ec);
  }
  if (ec) return invalid_argument("the API server's certificate authorities can't be read: " + ec.message());
  if (server.certificate.empty()) return {};
  context.use_certificate_chain(asio::buffer(server.certificate), ec);
  if (!ec) context.use_private_key(asio::buffer(server.key), asio::ssl::context::pem, ec);
  return ec ? Status(invalid_argument("the client's certificate for the API server can't be read: " + ec.message())) : Status();
}

// Lives until its last piece of asynchronous work has ended; tells nothing once it is abandoned.
class Conversation : public std::enable_shared_from_this<Conversation> {
 public:
  Conversation(asio::io_context& io, const ApiServer& server, Duration silence, ApiCall::Handlers handlers)
      : server_(server), silence_(silence), handlers_(std::move(handlers)), resolver_(io), stream_(io, context_) {}

  void start(const ApiRequest& request) {
    request_ = {request.patch.empty() ? http::verb::get : http::verb::patch, server_.base + request.target, 11};
    if (!request.patch.empty()) {
      request_.set(http::field::content_type, "application/merge-patch+json");
      request_.body() = request.patch;
      request_.prepare_payload();
    }
    request_.set(http::field::host, server_.host + ":" + std::to_string(server_.port));
    request_.set(http::field::accept, "application/json");
    request_.set(http::field::user_agent, "braid");
    if (const std::string token = token_of(server_); !token.empty()) request_.set(http::field::authorization, "Bearer " + token);
    if (const Status status = server_.tls ? load(context_, server_) : Status(); !status.ok()) {
      return asio::post(resolver_.get_executor(), [self = shared_from_this(), status] { self->done(status); });
    }
    resolver_.async_resolve(server_.host, std::to_string(server_.port), [self = shared_from_this()](error_code ec, tcp::resolver::results_type found) {
      if (ec) return self->fail("resolve", ec);
      self->socket().expires_after(kConnectTimeout);
      self->socket().async_connect(found, [self](error_code failed, const tcp::endpoint&) { self->connected(failed); });
    });
  }

  void abandon() {
    handlers_ = {};
    resolver_.cancel();
    socket().close();
  }

 private:
  beast::tcp_stream& socket() { return beast::get_lowest_layer(stream_); }

  void connected(error_code ec) {
    if (ec) return fail("connect", ec);
    if (!server_.tls) return send(socket());
    stream_.set_verify_mode(server_.verify ? asio::ssl::verify_peer : asio::ssl::verify_none);
    if (server_.verify) stream_.set_verify_callback(asio::ssl::host_name_verification(server_.name));
    error_code no_address;
    asio::ip::make_address(server_.name, no_address);
    if (no_address) SSL_set_tlsext_host_name(stream_.native_handle(), server_.name.c_str());
    stream_.async_handshake(asio::ssl::stream_base::client, [self = shared_from_this()](error_code failed) {
      if (failed) return self->fail("agree on TLS", failed);
      self->send(self->stream_);
    });
  }

  template <class Stream>
  void send(Stream& stream) {
    http::async_write(stream, request_, [self = shared_from_this(), &stream](error_code ec, std::size_t) {
      if (ec) return self->fail("send a request", ec);
      self->parser_.body_limit(boost::none);
      self->socket().expires_after(self->silence());
      http::async_read_header(stream, self->buffer_, self->parser_, [self, &stream](error_code failed, std::size_t) {
        if (failed) return self->fail("read an answer", failed);
        if (self->handlers_.on_head) self->handlers_.on_head(static_cast<int>(self->parser_.get().result_int()));
        self->read(stream);
      });
    });
  }

  template <class Stream>
  void read(Stream& stream) {
    if (parser_.is_done()) return done({});
    parser_.get().body().data = piece_.data();
    parser_.get().body().size = piece_.size();
    socket().expires_after(silence());
    http::async_read_some(stream, buffer_, parser_, [self = shared_from_this(), &stream](error_code ec, std::size_t) {
      const std::size_t got = self->piece_.size() - self->parser_.get().body().size;
      if (got > 0 && self->handlers_.on_data) self->handlers_.on_data({self->piece_.data(), got});
      if (ec && ec != http::error::need_buffer) return self->fail("read an answer", ec);
      self->read(stream);
    });
  }

  std::chrono::steady_clock::duration silence() const { return std::chrono::duration_cast<std::chrono::steady_clock::duration>(silence_); }

  void fail(const char* what, error_code ec) {
    done(Error{ErrorCode::kUnavailable, "API server " + server_.host + ":" + std::to_string(server_.port) + ": can't " + what + ": " + ec.message(), {}});
  }

  void done(Status status) {
    socket().close();
    if (const auto told = std::exchange(handlers_, {}).on_done) told(std::move(status));
  }

  const ApiServer server_;
  const Duration silence_;
  ApiCall::Handlers handlers_;
  asio::ssl::context context_{asio::ssl::context::tls_client};
  tcp::resolver resolver_;
  beast::ssl_stream<beast::tcp_stream> stream_;
  http::request<http::string_body> request_;
  http::response_parser<http::buffer_body> parser_;
  beast::flat_buffer buffer_;
  std::array<char, kPiece> piece_{};
};

class OneCall final : public ApiCall {
 public:
  explicit OneCall(std::shared_ptr<Conversation> conversation) : conversation_(std::move(conversation)) {}
  ~OneCall() override { conversation_->abandon(); }

 private:
  const std::shared_ptr<Conversation> conversation_;
};

}  // namespace

std::unique_ptr<ApiCall> ApiCall::start(net::EventLoop& loop, const ApiServer& server, const ApiRequest& request, Duration silence, Handlers handlers) {
  auto conversation = std::make_shared<Conversation>(loop.io(), server, silence, std::move(handlers));
  conversation->start(request);
  return std::make_unique<OneCall>(std::move(conversation));
}

Result<std::string> ask(net::EventLoop& loop, const ApiServer& server, const ApiRequest& request, Duration patience) {
  struct Answer {
    int status = 0;
    std::string body;
    std::promise<Status> done;
    std::unique_ptr<ApiCall> call;
  };
  const auto answer = std::make_shared<Answer>();
  auto done = answer->done.get_future();
  loop.run_and_wait([&] {
    answer->call = ApiCall::start(loop, server, request, patience,
                                  {.on_head = [answer](int status) { answer->status = status; },
                                   .on_data = [answer](std::string_view data) { answer->body += data; },
                                   .on_done = [answer](Status status) { answer->done.set_value(std::move(status)); }});
  });
  const bool came = done.wait_for(patience) == std::future_status::ready;
  loop.run_and_wait([&] { answer->call.reset(); });
  const std::string what = (request.patch.empty() ? "GET " : "PATCH ") + request.target;
  if (!came) return Error{ErrorCode::kDeadlineExceeded, what + ": the API server " + server.host + " has not answered in time", {}};
  RETURN_IF_ERROR(done.get());
  if (answer->status / 100 == 2) return std::move(answer->body);
  return Error{ErrorCode::kUnavailable, what + " was answered with " + std::to_string(answer->status) + ": " + answer->body.substr(0, 200), {}};
}

}  // namespace braid::kubernetes
