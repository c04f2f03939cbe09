// SPDX-License-Identifier: Apache-2.0
// braid autoscale: looks at the engines' metrics, decides, acts.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "app/commands.h"
#include "app/parse.h"
#include "app/role_metrics.h"
#include "app/scale_target.h"
#include "autoscale/controller.h"
#include "base/log.h"
#include "config/reference.h"
#include "net/event_loop.h"
#include "net/http_client.h"
#include "net/resolve.h"

namespace braid::app {
namespace {

struct AutoscaleSettings {
  std::vector<std::string> metrics, prefill_metrics, decode_metrics;
  std::string target, prefill_target, decode_target;
  int engines = 1, prefill_engines = 1, decode_engines = 1;
  std::string api, kubeconfig;
  double first_token = 2000, token_time = 50, attainment = 95;
  int least = 1, most = 16;
  double interval = 15;
  double down_window = 90;
  bool dry_run = false;
  int rounds = 0;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("metrics", self.metrics, {.help = "Engines that prefill and decode, as name:port; every address of a name is one"});
    v.field("target", self.target, {.help = "What to scale for them: kubernetes:deployments/NAMESPACE/NAME, kubernetes:leaderworkersets/NAMESPACE/NAME, server:http://host:port; without NAMESPACE/ in the account's own"});
    v.field("engines-per-replica", self.engines, {.help = "Engines of one replica: a group of pods with a server for each rank has as many as ranks", .min = 1, .max = 4096});
    v.field("prefill-metrics", self.prefill_metrics, {.help = "Engines that only prefill"});
    v.field("prefill-target", self.prefill_target, {.help = "What to scale for them"});
    v.field("prefill-engines-per-replica", self.prefill_engines, {.help = "Of one of their replicas", .min = 1, .max = 4096});
    v.field("decode-metrics", self.decode_metrics, {.help = "Engines that only decode"});
    v.field("decode-target", self.decode_target, {.help = "What to scale for them"});
    v.field("decode-engines-per-replica", self.decode_engines, {.help = "Of one of their replicas", .min = 1, .max = 4096});
    v.field("api", self.api, {.help = "An API server of Kubernetes that asks for no credentials, as kubectl proxy is: http://127.0.0.1:8001"});
    v.field("kubeconfig", self.kubeconfig, {.help = "Where the API server is and who we are; unset: --api, or as Kubernetes tells a pod"});
    v.field("ttft", self.first_token, {.help = "Objective: time to first token", .unit = "ms", .min = 1});
    v.field("attainment", self.attainment, {.help = "Share of the requests that shall have it by then", .unit = "%", .min = 1, .max = 99.99});
    v.field("itl", self.token_time, {.help = "Objective: mean time between tokens", .unit = "ms", .min = 0.1});
    v.field("least", self.least, {.help = "Least replicas of a role", .min = 1, .max = 10000});
    v.field("most", self.most, {.help = "Most replicas of a role", .min = 1, .max = 10000});
    v.field("interval", self.interval, {.help = "Between decisions", .unit = "seconds", .min = 1, .max = 3600});
    v.field("down-window", self.down_window, {.help = "For so long fewer replicas must have been enough", .unit = "seconds", .min = 0, .max = 86400});
    v.field("dry-run", self.dry_run, {.help = "Only tell what would be done, and why"});
    v.field("rounds", self.rounds, {.help = "Ends after so many decisions; 0: on SIGTERM", .min = 0, .max = 1e9});
  }
};

// The pages of all engines, each within a few seconds.
class Scraper {
 public:
  explicit Scraper(std::vector<std::string> places) : places_(std::move(places)) {}

  std::map<std::string, std::string> pages() {
    std::map<std::string, std::string> pages;
    for (const auto& place : places_) {
      const std::size_t colon = place.rfind(':');
      const std::string name = place.substr(0, colon);
      const int port = colon == std::string::npos ? 80 : std::atoi(place.c_str() + colon + 1);
      for (const std::string& address : addresses(name)) {
        const auto client = net::HttpClient::create(address, port, 1);
        const auto answer = client->fetch({.target = "/metrics", .headers = {}, .body = {}, .timeout = kPatience});
        if (answer.ok() && answer->status == 200) pages[address + ":" + std::to_string(port)] = answer->body;
      }
    }
    return pages;
  }

 private:
  static constexpr Duration kPatience = std::chrono::seconds(3);

  std::vector<std::string> addresses(const std::string& name) {
    auto found = std::make_shared<std::promise<std::vector<std::string>>>();
    auto answer = found->get_future();
    loop_->run_and_wait([&] {
      net::resolve(*loop_, name, [found](Result<std::vector<std::string>> all) { found->set_value(all.ok() ? *all : std::vector<std::string>()); });
    });
    return answer.wait_for(kPatience) == std::future_status::ready ? answer.get() : std::vector<std::string>();
  }

  const std::vector<std::string> places_;
  const std::shared_ptr<net::EventLoop> loop_ = std::make_shared<net::EventLoop>("autoscale");
};

struct Role {
  std::string name;
  Scraper scraper;
  std::unique_ptr<ScaleTarget> target;
  Replicas replicas;   // as the target counts them
  autoscale::RoleController controller;
  RoleMetrics metrics;
  int seen = 0;        // engines that answered last
};

class Autoscaler {
 public:
  explicit Autoscaler(const AutoscaleSettings& settings) : settings_(settings) {}

  Status open() {
    RETURN_IF_ERROR(add("both", settings_.metrics, settings_.target, settings_.engines));
    RETURN_IF_ERROR(add("prefill", settings_.prefill_metrics, settings_.prefill_target, settings_.prefill_engines));
    RETURN_IF_ERROR(add("decode", settings_.decode_metrics, settings_.decode_target, settings_.decode_engines));
    if (!roles_.empty()) return {};
    return invalid_argument("there is nothing to scale: give --metrics and --target, or the two of --prefill and --decode", "metrics");
  }

  void round() {
    const double now = to_seconds(clock_.now().time_since_epoch());
    for (Role& role : roles_) {
      const Status status = decide(role, now);
      if (!status.ok()) log_warning("holds, because the target can't be asked or set", {{"role", role.name}, {"error", status.error().message}});
    }
  }

 private:
  Status add(const std::string& name, const std::vector<std::string>& metrics, const std::string& target, int engines) {
    if (metrics.empty() && target.empty()) return {};
    const std::string prefix = name == "both" ? "--" : "--" + name + "-";
    if (metrics.empty() || target.empty()) return invalid_argument(prefix + "metrics and " + prefix + "target belong together", "metrics");
    auto opened = scale_target(target, {settings_.api, settings_.kubeconfig});
    if (!opened.ok()) return opened.error().within(prefix + "target");
    const autoscale::Objectives aims{settings_.first_token / 1e3, settings_.token_time / 1e3, settings_.attainment / 100};
    const autoscale::ControllerSettings limits{.least = settings_.least, .most = settings_.most, .down_window = settings_.down_window};
    roles_.push_back({name, Scraper(metrics), *std::move(opened), {target.starts_with("server:"), engines},
                      autoscale::RoleController(name != "prefill", aims, limits), RoleMetrics(aims.first_token), 0});
    return {};
  }

  Status decide(Role& role, double now) {
    ASSIGN_OR_RETURN(const int replicas, role.target->replicas());
    const auto pages = role.scraper.pages();
    // Fewer answers than before are fewer engines only when fewer are wanted.
    const int expected = role.replicas.ranks ? role.seen : std::min(role.seen, replicas * role.replicas.pages);
    auto seen = role.metrics.look(now, pages, expected, role.replicas);
    role.seen = static_cast<int>(pages.size());
    if (seen) seen->starting = std::max(0, replicas - seen->ready);
    const auto decision = role.controller.decide(now, replicas, seen);
    std::printf("%s: %s%s\n", role.name.c_str(), decision.reason.c_str(), settings_.dry_run && decision.replicas != replicas ? " (dry run)" : "");
    std::fflush(stdout);
    if (settings_.dry_run || decision.replicas == replicas) return {};
    return role.target->set_replicas(decision.replicas);
  }

  const AutoscaleSettings& settings_;
  const SteadyClock clock_;
  std::vector<Role> roles_;
};

// False when a signal asked to stop.
bool wait_for(double seconds, const sigset_t& signals) {
  const auto whole = static_cast<time_t>(seconds);
  const timespec time{whole, static_cast<long>((seconds - static_cast<double>(whole)) * 1e9)};
  return sigtimedwait(&signals, nullptr, &time) < 0;
}

Status run(const AutoscaleSettings& settings) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  Autoscaler autoscaler(settings);
  RETURN_IF_ERROR(autoscaler.open());
  for (int round = 1;; ++round) {
    autoscaler.round();
    if (round == settings.rounds || !wait_for(settings.interval, signals)) return {};
  }
}

}  // namespace

int autoscale_command(Words words) {
  AutoscaleSettings settings;
  auto options = parse_options();
  options.positional_fields = {};
  const auto parsed = config::parse(settings, words, options);
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts(config::help<AutoscaleSettings>({"braid autoscale [flags]", "Replicas of prefill and decode from objectives, learned curves and the traffic seen.", ""}).c_str());
    return 0;
  }
  const Status status = run(settings);
  return status.ok() ? 0 : fail(status.error());
}

}  // namespace braid::app
