// SPDX-License-Identifier: Apache-2.0
#include "serve/server.h"

#include <algorithm>
#include <array>

#include "base/version.h"
#include "serve/context.h"
#include "text/files.h"

namespace braid::serve {
namespace {

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
  handle_health(c, std::move(r), std::move(writer));
}

void handle_version(Context&, net::Request&&, Writer writer) {
  send_json(writer, 200, std::string("{\"version\":\"") + version() + "\"}");
}

void handle_load(Context& c, net::Request&&, Writer writer) {
  send_json(writer, 200, "{\"server_load\":" + std::to_string(c.load.load()) + "}");
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

void dispatch(Context& c, net::Request&& request, Writer writer) {
  bool known_path = false;
  for (const auto& route : kRoutes) {
    if (route.path != request.path()) continue;
    known_path = true;
    if (route.method != request.method) continue;
    if (route.protected_ && !authorised(c, request)) {
      return send_error(writer, {ErrorCode::kUnauthorized, "Unauthorized: send one of the server's API keys as a bearer token", {}});
    }
    if (route.method == "POST" && route.protected_) {
      const std::string_view type = request.header("Content-Type");
      if (!type.empty() && type.find("json") == std::string_view::npos) {
        return send_json(writer, 415, protocol::error_body(invalid_argument("Content-Type: expected application/json, found " + std::string(type)), 415));
      }
      if (c.draining) return send_error(writer, {ErrorCode::kUnavailable, "the server is shutting down", {}});
    }
    return route.handle(c, std::move(request), std::move(writer));
  }
  if (known_path) {
    return send_json(writer, 405, protocol::error_body(invalid_argument("Method Not Allowed"), 405));
  }
  send_error(writer, {ErrorCode::kNotFound, "Not Found: " + std::string(request.path()), {}});
}

class HttpFace final : public Server {
 public:
  Status open(Parts parts, const Settings& settings) {
    context_.settings = settings;
    context_.parts = std::move(parts);
    context_.started = context_.now_seconds();
    context_.model_names = settings.served_model_name;
    if (context_.model_names.empty()) context_.model_names = {context_.parts.model_path};
    RETURN_IF_ERROR(load_template());
    net::HttpServerOptions options;
    options.host = settings.host;
    options.port = settings.port;
    options.max_connections = settings.max_connections;
    options.max_body_bytes = static_cast<std::size_t>(settings.max_body_mib) << 20;
    ready_ = std::make_shared<std::atomic<bool>>(false);
    ASSIGN_OR_RETURN(http_, net::HttpServer::listen(options, [this, ready = ready_](net::Request&& request, Writer writer) {
                       if (!*ready) return send_error(writer, {ErrorCode::kUnavailable, "starting", {}});
                       dispatch(context_, std::move(request), std::move(writer));
                     }));
    context_.http = http_.get();
    *ready_ = true;
    return {};
  }

  int port() const override { return http_->port(); }

  void drain(Duration timeout) override {
    context_.draining = true;
    context_.parts.engine->drain(timeout);
    http_->shutdown(std::chrono::seconds(2));
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

  Context context_;
  std::shared_ptr<std::atomic<bool>> ready_;
  std::unique_ptr<net::HttpServer> http_;
};

}  // namespace

Result<std::unique_ptr<Server>> Server::start(Parts parts, const Settings& settings) {
  auto face = std::make_unique<HttpFace>();
  RETURN_IF_ERROR(face->open(std::move(parts), settings));
  return std::unique_ptr<Server>(std::move(face));
}

}  // namespace braid::serve
