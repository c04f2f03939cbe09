// SPDX-License-Identifier: Apache-2.0
#include <signal.h>

#include <cstdio>

#include "app/commands.h"
#include "app/open_files.h"
#include "app/parse.h"
#include "app/report.h"
#include "base/log.h"
#include "config/reference.h"
#include "gateway/gateway.h"
#include "gateway/sidecar.h"
#include "router/replay.h"
#include "text/files.h"

namespace braid::app {
namespace {

void use_log(const std::string& level, const std::string& format) {
  const LogLevel levels[] = {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError};
  const std::string_view names[] = {"debug", "info", "warning", "error"};
  for (std::size_t i = 0; i < std::size(names); ++i) {
    if (names[i] == level) configure_log(levels[i], format == "json" ? LogFormat::kJson : LogFormat::kHuman);
  }
}

// Blocks the signals that end a server, before any thread starts.
sigset_t block_stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
  open_files_as_many_as_allowed();
  return set;
}

// Another signal ends the process at once.
void wait_for_stop(const sigset_t& signals, int drain_seconds) {
  int received = 0;
  sigwait(&signals, &received);
  log_info("shutting down; another signal ends the process at once",
           {{"signal", received == SIGINT ? "SIGINT" : "SIGTERM"}, {"drain_seconds", drain_seconds}});
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

Status explain(const gateway::RouteSettings& settings) {
  ASSIGN_OR_RETURN(const std::string scenario, text::read_file(settings.explain));
  ASSIGN_OR_RETURN(const std::string told, router::explain_scenario(scenario, settings.explain, settings.explain_json));
  std::fwrite(told.data(), 1, told.size(), stdout);
  return {};
}

Status run_route(gateway::RouteSettings& settings, const std::string& configuration) {
  if (!settings.explain.empty()) return explain(settings);
  const sigset_t signals = block_stop_signals();
  std::string yaml = settings.config_text;
  std::string name = "--config-text";
  if (!settings.config_file.empty()) {
    if (!yaml.empty()) return invalid_argument("only one of --config-file and --config-text can be given", "config-text");
    name = settings.config_file;
    ASSIGN_OR_RETURN(yaml, text::read_file(name));
  }
  router::PickerConfig config = router::default_picker_config();
  router::Resources resources;
  if (!yaml.empty()) {
    ASSIGN_OR_RETURN(config, router::parse_picker_config(yaml, name));
    RETURN_IF_ERROR(router::add_resources(resources, yaml, name));
  }
  for (const std::string& warning : config.warnings) log_warning(warning);
  gateway::ReportWriter report = [about = ReportParts{configuration, secrets_of(config::table_of(settings))}](const std::string& shown, const std::string& metrics) {
    return report_of(about, shown, metrics);
  };
  ASSIGN_OR_RETURN(const auto gateway, gateway::Gateway::start(settings, config, std::move(resources), std::move(report)));
  const std::string host = settings.http.host == "0.0.0.0" ? "localhost" : settings.http.host;
  log_info("ready", {{"url", "http://" + host + ":" + std::to_string(gateway->port())}, {"config", yaml.empty() ? "built-in" : name}});
  wait_for_stop(signals, settings.http.drain_timeout_seconds);
  gateway->drain(std::chrono::seconds(settings.http.drain_timeout_seconds));
  return {};
}

Status run_sidecar(gateway::SidecarSettings& settings, const std::string&) {
  const sigset_t signals = block_stop_signals();
  ASSIGN_OR_RETURN(const auto sidecar, gateway::Sidecar::start(settings));
  log_info("ready", {{"port", sidecar->ports().front()}, {"ranks", sidecar->ports().size()}, {"model_server_port", settings.model_server_port}});
  wait_for_stop(signals, settings.http.drain_timeout_seconds);
  sidecar->drain(std::chrono::seconds(settings.http.drain_timeout_seconds));
  return {};
}

template <class Settings>
int run(Words words, const config::HelpText& help, Status (*body)(Settings&, const std::string& configuration)) {
  Settings settings;
  auto options = parse_options();
  options.positional_fields = {};
  const auto parsed = config::parse(settings, words, options);
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts(config::help<Settings>(help).c_str());
    return 0;
  }
  if (!parsed->positionals.empty()) return fail(invalid_argument("'" + parsed->positionals[0] + "' belongs to no flag; --help lists them"));
  use_log(settings.log_level, settings.log_format);
  const Status status = body(settings, config::show_values_json(config::table_of(settings), *parsed));
  return status.ok() ? 0 : fail(status.error());
}

}  // namespace

int route(Words words) {
  return run<gateway::RouteSettings>(words,
                                     {"braid route --endpoints HOST:PORT,... [flags]",
                                      "Routes requests to servers by their load and what their caches hold, as an EndpointPickerConfig of llm-d says.",
                                      "  braid route --endpoints localhost:8000,localhost:8001 --port 8081\n"
                                      "  braid route --explain tests/scenarios/router/default_config.txt\n"},
                                     run_route);
}

int sidecar(Words words) {
  return run<gateway::SidecarSettings>(words,
                                       {"braid sidecar [flags]",
                                        "Stands in front of a decode server: requests that name a prefiller are prefilled there first.",
                                        "  braid sidecar --port 8000 --model-server-port 8200 --allowed-prefillers 10.0.0.7\n"},
                                       run_sidecar);
}

}  // namespace braid::app
