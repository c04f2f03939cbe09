// SPDX-License-Identifier: Apache-2.0
#include "serve/server.h"

#include <algorithm>
#include <latch>

#include "base/version.h"
#include "serve/context.h"
#include "serve/reply.h"
#include "text/files.h"

namespace braid::serve {
namespace {

constexpr Duration kLastBytes = std::chrono::seconds(2);  // to send what was answered already
constexpr std::size_t kShortBody = 2048;

struct Route {
  std::string_view method;
  std::string_view path;
  bool protected_;  // needs a key when there are keys
  void (*handle)(Context&, net::Request&&, Writer);
};

void send_text(const Writer& writer, int status, std::string body) {
  net::Response response;
  response.status = status;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = std::move(body);
  writer->send(std::move(response));
}

void handle_health(Context& c, net::Request&&, Writer writer) {
  const auto stats = c.parts.engine->stats();
  if (stats.healthy) return send_text(writer, 200, "");
  send_error(writer, {ErrorCode::kUnavailable, "the engine is dead: " + stats.failure, {}});
}

void handle_ready(Context& c, net::Request&& r, Writer writer) {
  if (c.draining) return send_error(writer, {ErrorCode::kUnavailable, "the server is draining", {}});
  if (!c.parts.deployment || !c.parts.engine->stats().healthy) return handle_health(c, std::move(r), std::move(writer));
  send_json(writer, 200, ranks_json(c.parts.deployment->state()));
}

void handle_version(Context&, net::Request&&, Writer writer) {
  send_json(writer, 200, std::string("{\"version\":\"") + version() + "\"}");
}

void handle_load(Context& c, net::Request&&, Writer writer) {
  send_json(writer, 200, "{\"server_load\":" + std::to_string(c.in_flight.count()) + "}");
}

void handle_metrics(Context& c, net::Request&&, Writer writer) { send_text(writer, 200, c.parts.metrics_text()); }

constexpr Route kRoutes[] = {
    {"POST", "/v1/chat/completions", true, handle_chat},
    {"POST", "/v1/completions", true, handle_completion},
    {"POST", "/inference/v1/generate", true, handle_generate},
    {"POST", "/v1/chat/completions/render", true, handle_chat_render},
    {"POST", "/v1/completions/render", true, handle_completion_render},
    {"POST", "/tokenize", true, handle_tokenize},
    {"POST", "/detokenize", true, handle_detokenize},
    {"GET", "/v1/models", true, handle_models},
    {"POST", "/scale_elastic_ep", true, handle_scale},
    {"POST", "/is_scaling_elastic_ep", false, handle_is_scaling},
    {"GET", "/health", false, handle_health},
    {"GET", "/ping", false, handle_health},
    {"POST", "/ping", false, handle_health},
    {"GET", "/ready", false, handle_ready},
    {"GET", "/version", false, handle_version},
    {"GET", "/load", false, handle_load},
    {"GET", "/metrics", false, handle_metrics},
};

// Compares without telling by its time where the difference is.
bool same_key(std::string_view given, std::string_view key) {
  unsigned char difference = given.size() == key.size() ? 0 : 1;
  for (std::size_t i = 0; i < given.size(); ++i) {
    difference |= static_cast<unsigned char>(given[i] ^ key[i % std::max<std::size_t>(key.size(), 1)]);
  }
  return difference == 0;
}

bool authorised(const Context& c, const net::Request& request) {
  if (c.settings.api_key.empty()) return true;
  constexpr std::string_view kBearer = "Bearer ";
  std::string_view given = request.header("Authorization");
  if (!given.starts_with(kBearer)) return false;
  given.remove_prefix(kBearer.size());
  return std::any_of(c.settings.api_key.begin(), c.settings.api_key.end(),
                     [&](const std::string& key) { return !key.empty() && same_key(given, key); });
}

bool reads_body(const Route& route) { return route.method == "POST" && route.protected_; }

// Headers that every answer to `request` carries.
std::vector<net::Header> common_headers(Context& c, const net::Request& request) {
  auto headers = c.cors.headers_for(request);
  if (!c.settings.enable_request_id_headers) return headers;
  const std::string_view given = request.header("X-Request-Id");
  headers.push_back({"X-Request-Id", given.empty() ? c.new_id("") : std::string(given)});
  return headers;
}

// A long body would keep the I/O thread from others; a short one costs less than handing it over.
void handle_body(Context& c, const Route& route, net::Request&& request, Writer writer) {
  if (request.body.size() <= kShortBody) return route.handle(c, std::move(request), std::move(writer));
  const auto work = [&c, &route, writer, request = std::make_shared<net::Request>(std::move(request))] {
    route.handle(c, std::move(*request), writer);
  };
  if (!c.text->run(work)) send_text_queue_full(writer);
}

void handle(Context& c, const Route& route, net::Request&& request, Writer writer) {
  if (route.protected_ && !authorised(c, request)) {
    return send_error(writer, {ErrorCode::kUnauthorized, "Unauthorized: send one of the server's API keys as a bearer token", {}});
  }
  if (!reads_body(route)) return route.handle(c, std::move(request), std::move(writer));
  const std::string_view type = request.header("Content-Type");
  if (!type.empty() && type.find("json") == std::string_view::npos) {
    return send_json(writer, 415, protocol::error_body(invalid_argument("Content-Type: expected application/json, found " + std::string(type)), 415));
  }
  if (c.draining) return send_error(writer, {ErrorCode::kUnavailable, "the server is shutting down", {}});
  handle_body(c, route, std::move(request), std::move(writer));
}

void dispatch(Context& c, net::Request&& request, Writer writer) {
  const Route* found = nullptr;
  bool known_path = false;
  for (const auto& route : kRoutes) {
    if (route.path != request.path()) continue;
    known_path = true;
    if (route.method == request.method) found = &route;
  }
  const bool counted = found && reads_body(*found);
  auto reply = std::make_shared<Reply>(counted ? &c.in_flight : nullptr, common_headers(c, request), std::move(writer));
  if (auto answer = c.cors.preflight(request)) return reply->send(std::move(*answer));
  if (found) return handle(c, *found, std::move(request), std::move(reply));
  if (known_path) return send_json(reply, 405, protocol::error_body(invalid_argument("Method Not Allowed"), 405));
  send_error(reply, {ErrorCode::kNotFound, "Not Found: " + std::string(request.path()), {}});
}

net::HttpServerOptions http_options(const Settings& settings) {
  using std::chrono::seconds;
  net::HttpServerOptions options;
  options.host = settings.host;
  options.port = settings.port;
  options.max_connections = settings.max_connections;
  options.max_body_bytes = static_cast<std::size_t>(settings.max_body_mib) << 20;
  options.max_headers = settings.h11_max_header_count;
  options.max_header_bytes = static_cast<std::size_t>(settings.h11_max_incomplete_event_size);
  options.header_timeout = seconds(settings.header_timeout_seconds);
  options.body_timeout = seconds(settings.body_timeout_seconds);
  options.idle_timeout = seconds(settings.keep_alive_timeout_seconds);
  options.write_timeout = seconds(settings.write_timeout_seconds);
  return options;
}

class HttpFace final : public Server {
 public:
  ~HttpFace() override {
    context_.waiting->close();
    if (http_) http_->shutdown(Duration::zero());  // nothing is handled from here on
  }

  Status open(Parts parts, const Settings& settings) {
    context_.settings = settings;
    context_.parts = std::move(parts);
    context_.started = context_.now_seconds();
    context_.model_names = settings.served_model_name;
    if (context_.model_names.empty()) context_.model_names = {context_.parts.model_path};
    RETURN_IF_ERROR(load_template());
    context_.cors = Cors({settings.allowed_origins, settings.allowed_methods, settings.allowed_headers, settings.allow_credentials});
    // A first request may come before the parts below are there; it waits for them.
    const auto ready = std::make_shared<std::latch>(1);
    ASSIGN_OR_RETURN(http_, net::HttpServer::listen(http_options(settings), [this, ready](net::Request&& request, Writer writer) {
                       ready->wait();
                       dispatch(context_, std::move(request), std::move(writer));
                     }));
    context_.http = http_.get();
    text_ = std::make_unique<TextQueue>(static_cast<std::size_t>(settings.max_waiting_prompts));
    context_.text = text_.get();
    context_.mailbox = std::make_shared<Mailbox>(*http_);
    ready->count_down();
    return {};
  }

  int port() const override { return http_->port(); }

  void drain(Duration timeout) override {
    const TimePoint deadline = clock_.now() + timeout;
    const auto left = [&] { return std::max(Duration::zero(), deadline - clock_.now()); };
    context_.draining = true;
    context_.in_flight.wait_for_none(timeout);
    context_.parts.engine->drain(left());
    context_.waiting->close();
    http_->shutdown(std::max<Duration>(left(), kLastBytes));
  }

 private:
  Status load_template() {
    if (const auto& named = context_.settings.chat_template) {
      std::string source = *named;
      if (source.find('{') == std::string::npos) {
        ASSIGN_OR_RETURN(source, text::read_file(*named));
      }
      const std::string variables = context_.parts.chat_template ? context_.parts.chat_template->default_variables() : "{}";
      ASSIGN_OR_RETURN(context_.parts.chat_template, text::compile_template(source, variables));
    }
    const std::string& format = context_.settings.chat_template_content_format;
    const bool by_parts = context_.parts.chat_template && context_.parts.chat_template->content_format() == text::ContentFormat::kOpenAi;
    context_.join_parts = format == "string" || (format == "auto" && !by_parts);
    return {};
  }

  const SteadyClock clock_;
  Context context_;
  std::unique_ptr<net::HttpServer> http_;
  std::unique_ptr<TextQueue> text_;  // ends before `http_`, to which it writes
};

}  // namespace

Result<std::unique_ptr<Server>> Server::start(Parts parts, const Settings& settings) {
  RETURN_IF_ERROR(parse::check_names({settings.tool_call_parser, settings.reasoning_parser}));
  if (settings.enable_auto_tool_choice && settings.tool_call_parser.empty()) {
    return invalid_argument("--enable-auto-tool-choice needs --tool-call-parser: name the model's format", "tool-call-parser");
  }
  auto face = std::make_unique<HttpFace>();
  RETURN_IF_ERROR(face->open(std::move(parts), settings));
  return std::unique_ptr<Server>(std::move(face));
}

}  // namespace braid::serve
