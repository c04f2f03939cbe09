// SPDX-License-Identifier: Apache-2.0
#include "serve/server.h"

#include <algorithm>
#include <latch>

#include "base/log.h"
#include "base/version.h"
#include "dashboard/dashboard.h"
#include "parse/detect.h"
#include "protocol/anthropic.h"
#include "serve/context.h"
#include "serve/dashboard_data.h"
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

void handle_timeline(Context& c, net::Request&& request, Writer writer) {
  if (!c.parts.timeline) return send_error(writer, {ErrorCode::kNotFound, "Not Found: " + std::string(request.path()), {}});
  send_json(writer, 200, c.parts.timeline());
}

void handle_dashboard(Context& c, net::Request&& request, Writer writer) {
  if (!dashboard::may_look(request, c.settings.api_key)) return writer->send(dashboard::challenge());
  writer->send(request.path() == dashboard::kPagePath ? dashboard::page_response() : dashboard::data_response(dashboard_data(c)));
}

void handle_report(Context& c, net::Request&& request, Writer writer) {
  if (!c.parts.report) return send_error(writer, {ErrorCode::kNotFound, "Not Found: " + std::string(request.path()), {}});
  writer->send(dashboard::data_response(c.parts.report(dashboard_data(c), c.parts.metrics_text())));
}

constexpr Route kRoutes[] = {
    {"POST", "/v1/chat/completions", true, handle_chat},
    {"POST", "/v1/completions", true, handle_completion},
    {"POST", "/v1/responses", true, handle_responses},
    {"GET", "/v1/responses/{id}", true, handle_response},
    {"DELETE", "/v1/responses/{id}", true, handle_response_delete},
    {"POST", "/v1/responses/{id}/cancel", true, handle_response_cancel},
    {"POST", "/v1/messages", true, handle_messages},
    {"POST", "/v1/messages/count_tokens", true, handle_count_tokens},
    {"POST", "/inference/v1/generate", true, handle_generate},
    {"POST", "/v1/chat/completions/render", true, handle_chat_render},
    {"POST", "/v1/completions/render", true, handle_completion_render},
    {"POST", "/tokenize", true, handle_tokenize},
    {"POST", "/detokenize", true, handle_detokenize},
    {"GET", "/v1/models", true, handle_models},
    {"POST", "/scale_elastic_ep", true, handle_scale},
    {"POST", "/is_scaling_elastic_ep", false, handle_is_scaling},
    {"GET", dashboard::kPagePath, false, handle_dashboard},  // asks browsers for the key itself
    {"GET", dashboard::kDataPath, false, handle_dashboard},
    {"GET", dashboard::kReportPath, true, handle_report},
    {"GET", "/health", false, handle_health},
    {"GET", "/ping", false, handle_health},
    {"POST", "/ping", false, handle_health},
    {"GET", "/ready", false, handle_ready},
    {"GET", "/version", false, handle_version},
    {"GET", "/load", false, handle_load},
    {"GET", "/metrics", false, handle_metrics},
    {"GET", "/timeline", true, handle_timeline},
};

// {id} stands for one part of a path.
bool matches(std::string_view route, std::string_view path) {
  constexpr std::string_view kHole = "{id}";
  const std::size_t hole = route.find(kHole);
  if (hole == std::string_view::npos) return route == path;
  if (!path.starts_with(route.substr(0, hole))) return false;
  path.remove_prefix(hole);
  const std::size_t end = std::min(path.find('/'), path.size());
  return end > 0 && path.substr(end) == route.substr(hole + kHole.size());
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

// Routers send nothing more, and the request elsewhere.
void send_leaving(const Writer& writer) {
  const Error error{ErrorCode::kUnavailable, "the server is shutting down", {}};
  writer->send({.status = 503, .headers = {{"Retry-After", "1"}, {"x-llm-d-request-dropped-reason", "rejected-shutting-down"}}, .body = writer->error_body(error, 503)});
}

void handle(Context& c, const Route& route, net::Request&& request, Writer writer) {
  if (route.protected_ && !dashboard::has_key(request, c.settings.api_key)) {
    return send_error(writer, {ErrorCode::kUnauthorized, "Unauthorized: send one of the server's API keys as a bearer token", {}});
  }
  if (!reads_body(route)) return route.handle(c, std::move(request), std::move(writer));
  const std::string_view type = request.header("Content-Type");
  if (!type.empty() && type.find("json") == std::string_view::npos) {
    return send_error(writer, invalid_argument("Content-Type: expected application/json, found " + std::string(type)), 415);
  }
  if (c.draining) return send_leaving(writer);
  handle_body(c, route, std::move(request), std::move(writer));
}

Reply::ErrorBody error_body_for(std::string_view path) {
  return path.starts_with("/v1/messages") ? protocol::anthropic_error_body : protocol::error_body;
}

void dispatch(Context& c, net::Request&& request, std::shared_ptr<net::ResponseWriter> writer) {
  const Route* found = nullptr;
  bool known_path = false;
  for (const auto& route : kRoutes) {
    if (!matches(route.path, request.path())) continue;
    known_path = true;
    if (route.method == request.method) found = &route;
  }
  const bool counted = found && reads_body(*found);
  auto reply = std::make_shared<Reply>(counted ? &c.in_flight : nullptr, common_headers(c, request), error_body_for(request.path()), std::move(writer));
  if (auto answer = c.cors.preflight(request)) return reply->send(std::move(*answer));
  if (found) return handle(c, *found, std::move(request), std::move(reply));
  if (known_path) return send_error(reply, invalid_argument("Method Not Allowed"), 405);
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
    context_.responses = std::make_unique<ResponseStore>(static_cast<std::size_t>(settings.response_store_mib) << 20);
    RETURN_IF_ERROR(load_template());
    RETURN_IF_ERROR(choose_parsers());
    context_.cors = Cors({settings.allowed_origins, settings.allowed_methods, settings.allowed_headers, settings.allow_credentials});
    // A first request may come before the parts below are there; it waits for them.
    const auto ready = std::make_shared<std::latch>(1);
    ASSIGN_OR_RETURN(http_, net::HttpServer::listen(http_options(settings), [this, ready](net::Request&& request, std::shared_ptr<net::ResponseWriter> writer) {
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

  Status choose_parsers() {
    const Settings& s = context_.settings;
    const auto found = context_.parts.chat_template ? parse::detect_parsers(context_.parts.chat_template->source()) : parse::ParserNames();
    const bool any_calls = s.tool_call_parser == "auto", any_reasoning = s.reasoning_parser == "auto";
    context_.parsers = {any_calls ? found.tools : s.tool_call_parser, any_reasoning ? found.reasoning : s.reasoning_parser};
    context_.reads_calls = !context_.parsers.tools.empty() && (any_calls || s.enable_auto_tool_choice);
    if (s.enable_auto_tool_choice && context_.parsers.tools.empty()) {
      return invalid_argument("--enable-auto-tool-choice needs --tool-call-parser: the chat template shows no format that is known", "tool-call-parser");
    }
    const auto shown = [](const std::string& name) { return name.empty() ? std::string("none") : name; };
    if (context_.parts.chat_template) {
      log_info("how answers are read", {{"tool_calls", shown(context_.parsers.tools)}, {"reasoning", shown(context_.parsers.reasoning)},
                                        {"found_by", any_calls || any_reasoning ? "chat template" : "settings"}});
    }
    return {};
  }

  const SteadyClock clock_;
  Context context_;
  std::unique_ptr<net::HttpServer> http_;
  std::unique_ptr<TextQueue> text_;  // ends before `http_`, to which it writes
};

}  // namespace

Result<std::unique_ptr<Server>> Server::start(Parts parts, const Settings& settings) {
  const auto named = [](const std::string& name) { return name == "auto" ? std::string() : name; };
  RETURN_IF_ERROR(parse::check_names({named(settings.tool_call_parser), named(settings.reasoning_parser)}));
  auto face = std::make_unique<HttpFace>();
  RETURN_IF_ERROR(face->open(std::move(parts), settings));
  return std::unique_ptr<Server>(std::move(face));
}

}  // namespace braid::serve
