// SPDX-License-Identifier: Apache-2.0
#include <signal.h>

#include <cstdio>

#include "app/commands.h"
#include "app/engine_host.h"
#include "app/expert_balance.h"
#include "app/host_role.h"
#include "app/load.h"
#include "app/parse.h"
#include "app/port_supervisor.h"
#include "app/ranks.h"
#include "app/report.h"
#include "base/log.h"
#include "config/reference.h"
#include "engine/speculation/make.h"
#include "metrics/registry.h"
#include "net/http_server.h"
#include "serve/server.h"
#include "tracing/tracer.h"

namespace braid::app {
namespace {

constexpr const char* kSummary =
    "Serves a mixture-of-experts model over an OpenAI-compatible HTTP API. Flags have vLLM's names.";

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

// What to paste into a terminal to see the server answer.
void print_first_request(const std::string& url, const ServeSettings& settings, bool chat) {
  if (settings.log_format == "json") return;
  const std::string key = settings.serve.api_key.empty() ? "" : " -H \"Authorization: Bearer $VLLM_API_KEY\"";
  const std::string body = chat ? R"({"messages":[{"role":"user","content":"What is a river?"}],"temperature":0})"
                                : R"({"prompt":[1,2,3],"temperature":0,"max_tokens":16})";
  std::fprintf(stderr, "\n  curl -s %s/v1/%s -H 'Content-Type: application/json'%s -d '%s'\n\n", url.c_str(),
               chat ? "chat/completions" : "completions", key.c_str(), body.c_str());
}

// Tells before the weights are loaded that nothing can listen there.
Status check_address(const serve::Settings& settings) {
  const auto listening = net::HttpServer::listen({.host = settings.host, .port = settings.port}, [](net::Request&&, const auto&) {});
  if (listening.ok()) return {};
  return Error{listening.error().code, listening.error().message + "; choose another --host or --port", listening.error().param};
}

Status run(ServeSettings settings, Words words, const std::string& configuration) {
  const sigset_t signals = stop_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // before any thread starts
  signal(SIGPIPE, SIG_IGN);
  RETURN_IF_ERROR(check_parallel(settings.parallel));
  RETURN_IF_ERROR(engine::check_speculation(settings.engine.speculation));
  ASSIGN_OR_RETURN(const model::Config config, model_config(settings.model.model));
  ASSIGN_OR_RETURN(const int length, model_length(settings.model, settings.engine.scheduler.max_model_len, config));
  settings.engine.scheduler.max_model_len = length;
  RETURN_IF_ERROR(check_eplb(settings.parallel, config));
  if (settings.parallel.headless) return run_headless(settings, words, signals);
  if (settings.parallel.multi_port_external_lb) return run_port_supervisor(settings, words, signals);
  if (settings.engine.overlap.enable_dbo && (!settings.parallel.enable_expert_parallel || settings.parallel.size == 1)) {
    return invalid_argument("--enable-dbo hides what expert parallelism costs between ranks; it needs --enable-expert-parallel and a "
                            "--data-parallel-size of 2 or more", "enable-dbo");
  }
  RETURN_IF_ERROR(check_address(settings.serve));
  ASSIGN_OR_RETURN(LoadedText text, load_text(settings.model, config));
  ASSIGN_OR_RETURN(const auto host_of_engine, start_engine(settings, words, text.vocabulary));
  tracing::Metrics trace_metrics;
  metrics::Registry registry;
  registry.add(trace_metrics);
  ASSIGN_OR_RETURN(const auto tracer, tracing::Tracer::start(settings.tracing, "braid-serve", trace_metrics));
  serve::Parts parts;
  parts.engine = &host_of_engine->engine();
  parts.tokenizer = text.tokenizer;
  parts.chat_template = text.chat_template;
  parts.model_path = settings.model.model;
  parts.defaults = text.defaults;
  parts.eos_ids = text.vocabulary.eos_ids;
  parts.deployment = host_of_engine->deployment();
  parts.metrics_text = [&host_of_engine, &registry] { return host_of_engine->metrics_text() + registry.text(); };
  parts.timeline = [&host_of_engine] { return host_of_engine->timeline(); };
  parts.tracer = tracer.get();
  parts.report = [about = ReportParts{configuration, secrets_of(config::table_of(settings))}](const std::string& shown, const std::string& metrics) {
    return report_of(about, shown, metrics);
  };
  ASSIGN_OR_RETURN(const auto server, serve::Server::start(std::move(parts), settings.serve));
  const std::string host = settings.serve.host == "0.0.0.0" ? "localhost" : settings.serve.host;
  const std::string url = "http://" + host + ":" + std::to_string(server->port());
  log_info("ready", {{"url", url}, {"max_model_len", length}});
  print_first_request(url, settings, text.chat_template != nullptr || settings.serve.chat_template);
  int received = 0;
  sigwait(&signals, &received);
  log_info("shutting down; another signal ends the server at once",
           {{"signal", received == SIGINT ? "SIGINT" : "SIGTERM"}, {"drain_seconds", settings.serve.drain_timeout_seconds}});
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  server->drain(std::chrono::seconds(settings.serve.drain_timeout_seconds));
  return {};
}

}  // namespace

int serve(Words words) {
  ServeSettings settings;
  const auto parsed = config::parse(settings, words, parse_options());
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts(config::help<ServeSettings>({"braid serve MODEL [flags]", kSummary, "  braid serve models/lexicon-30m --port 8000\n"}).c_str());
    return 0;
  }
  if (settings.model.model.empty()) return fail(invalid_argument("serve needs a model folder: braid serve models/lexicon-30m"));
  configure_serve_log(settings, false);
  const std::string configuration = config::show_values_json(config::table_of(settings), *parsed);
  const Status status = run(std::move(settings), words, configuration);
  return status.ok() ? 0 : fail(status.error());
}

int config(Words words) {
  ServeSettings settings;
  std::vector<std::string> rest(words.begin(), words.end());
  const auto take = [&](const char* flag) { return std::erase(rest, flag) > 0; };
  const bool markdown = take("--markdown"), json = take("--json");
  if (markdown) {
    std::fputs(config::markdown<ServeSettings>("braid serve", kSummary).c_str(), stdout);
    return 0;
  }
  const auto parsed = config::parse(settings, rest, parse_options());
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts("usage: braid config [MODEL] [flags of serve] [--json | --markdown]\n\nPrints every setting of serve with its value and source.");
    return 0;
  }
  const auto table = config::table_of(settings);
  std::puts((json ? config::show_values_json(table, *parsed) : config::show_values(table, *parsed)).c_str());
  return 0;
}

}  // namespace braid::app
