// SPDX-License-Identifier: Apache-2.0
#include <signal.h>

#include <cstdio>

#include "app/commands.h"
#include "app/load.h"
#include "app/parse.h"
#include "base/log.h"
#include "config/reference.h"
#include "engine/cache_size.h"
#include "engine/metrics.h"
#include "metrics/registry.h"
#include "serve/server.h"

namespace braid::app {
namespace {

constexpr const char* kSummary =
    "Serves a mixture-of-experts model over an OpenAI-compatible HTTP API. Flags have vLLM's names.";

LogLevel level_of(const std::string& name) {
  if (name == "debug") return LogLevel::kDebug;
  if (name == "warning") return LogLevel::kWarning;
  return name == "error" ? LogLevel::kError : LogLevel::kInfo;
}

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

Status run(ServeSettings settings) {
  const sigset_t signals = stop_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // before any thread starts
  signal(SIGPIPE, SIG_IGN);
  ASSIGN_OR_RETURN(const int length, model_length(settings.engine.scheduler.max_model_len, settings.model.model));
  settings.engine.scheduler.max_model_len = length;
  model::Options options;
  options.max_model_len = length;
  options.max_batched_tokens = settings.engine.scheduler.max_num_batched_tokens;
  options.max_sequences = settings.engine.scheduler.max_num_seqs;
  ASSIGN_OR_RETURN(LoadedModel loaded, load_model(settings.model, options, true));
  log_info("model loaded", {{"model", settings.model.model}, {"seconds", loaded.seconds},
                            {"weight_mib", loaded.model->weight_bytes() >> 20}, {"threads", loaded.stream->workers()}});
  RETURN_IF_ERROR(engine::check_cache(settings.engine, loaded.model->cache_layout(), length, engine::available_memory()));
  ASSIGN_OR_RETURN(LoadedText text, load_text(settings.model, loaded.model->config()));

  const SteadyClock clock;
  engine::Metrics metrics(length);
  metrics::Registry registry;
  const std::string name = settings.serve.served_model_name.empty() ? settings.model.model : settings.serve.served_model_name.front();
  registry.add(metrics, {{"model_name", name}, {"engine", "0"}});
  const auto eos = text.vocabulary.eos_ids;
  const auto engine = engine::start(std::move(loaded.model), std::move(text.vocabulary), settings.engine, metrics, clock);

  serve::Parts parts;
  parts.engine = engine.get();
  parts.tokenizer = text.tokenizer;
  parts.chat_template = text.chat_template;
  parts.model_path = settings.model.model;
  parts.generation_defaults = text.generation_defaults;
  parts.eos_ids = eos;
  parts.metrics_text = [&registry] { return registry.text(); };
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
  configure_log(level_of(settings.log_level), settings.log_format == "json" ? LogFormat::kJson : LogFormat::kHuman);
  const Status status = run(std::move(settings));
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
