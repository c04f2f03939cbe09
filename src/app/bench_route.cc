// SPDX-License-Identifier: Apache-2.0
// braid bench route.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "app/commands.h"
#include "app/line_plot.h"
#include "app/load_generator.h"
#include "app/output_file.h"
#include "app/parse.h"
#include "app/route_policies.h"
#include "app/server_process.h"
#include "config/reference.h"
#include "metrics/samples.h"
#include "net/http_client.h"
#include "planning/traffic.h"

namespace braid::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr Duration kStart = std::chrono::minutes(2);
constexpr int kQuarters = 4;  // rungs of a trace

struct RouteBench {
  std::string model = "models/lexicon-30m";
  int engines = 16;
  std::vector<std::string> policies = {"round_robin", "least_load", "approximate_prefix", "precise_prefix"};
  std::string config_file;
  std::string trace;
  double trace_speed = 1;
  int trace_requests = 500;
  std::string rates = "10,20,40,60,80";
  planning::LadderTraffic ladder;
  double objective = 2;
  double time_scale = 1;
  int max_num_seqs = 64;
  int blocks = 16384;
  std::string json, svg;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("model", self.model, {.help = "Folder of config.json and tokenizer of the simulated engines"});
    v.field("engines", self.engines, {.help = "Simulated engines, a process each", .min = 1, .max = 250});
    v.field("policies", self.policies, {.help = "What to compare: round_robin (no router), least_load, approximate_prefix, precise_prefix, config (config-file)"});
    v.field("config-file", self.config_file, {.help = "EndpointPickerConfig of the policy config"});
    v.field("trace", self.trace, {.help = "Requests of a Mooncake trace; unset: groups that share prompts, at rising rates"});
    v.field("trace-speed", self.trace_speed, {.help = "Factor of a trace's clock", .min = 0.001, .max = 1e6});
    v.field("trace-requests", self.trace_requests, {.help = "The first of a trace; 0: all", .min = 0});
    v.field("rates", self.rates, {.help = "Requests per second of one rung after the other"});
    v.field("rung-seconds", self.ladder.rung_seconds, {.help = "Length of a rung", .unit = "seconds", .min = 0.1});
    v.field("groups", self.ladder.groups, {.help = "Groups of users", .min = 1, .max = 1e6});
    v.field("shared-tokens", self.ladder.shared, {.help = "What the prompts of a group share, in whole 512", .unit = "tokens", .min = 0, .max = 1e6});
    v.field("own-tokens", self.ladder.own, {.help = "What each prompt has of its own", .unit = "tokens", .min = 1, .max = 1e6});
    v.field("output-tokens", self.ladder.output, {.help = "Tokens generated per request", .unit = "tokens", .min = 1, .max = 1e6});
    v.field("ttft", self.objective, {.help = "A rung is kept up with when nine of ten requests have their first token by then", .unit = "seconds", .min = 0.001});
    v.field("time-scale", self.time_scale, {.help = "Everything takes so many times as long, for machines too slow for the engines simulated; figures are divided by it", .min = 0.01, .max = 1000});
    v.field("max-num-seqs", self.max_num_seqs, {.help = "Most sequences that an engine computes at once", .min = 1});
    v.field("num-gpu-blocks", self.blocks, {.help = "Cache of an engine", .unit = "blocks of 16 tokens", .min = 16});
    v.field("json", self.json, {.help = "File for the figures as JSON"});
    v.field("svg", self.svg, {.help = "File for a plot of the times to the first token"});
  }
};

struct Rung {
  double begin = 0, seconds = 0;
  double rate = 0;  // requests a second
};

struct RungResult {
  double first_token_p90 = 0, output_per_s = 0;
};

struct PolicyResult {
  std::string policy;
  int failed = 0;
  double output_per_s = 0, hit_rate = 0, busiest = 0, kept_up = 0;
  std::vector<double> first_token;
  std::vector<RungResult> rungs;
};

struct Traffic {
  std::vector<planning::TrafficRequest> requests;
  std::vector<Rung> rungs;
};

Result<Traffic> traffic_of(const RouteBench& bench) {
  Traffic traffic;
  if (!bench.trace.empty()) {
    ASSIGN_OR_RETURN(traffic.requests, planning::read_trace(bench.trace, bench.trace_speed));
    const auto most = static_cast<std::size_t>(bench.trace_requests);
    if (most > 0 && traffic.requests.size() > most) traffic.requests.resize(most);
    const double length = traffic.requests.back().arrival / kQuarters + 1e-6;
    for (int i = 0; i < kQuarters; ++i) {
      traffic.rungs.push_back({i * length, length, static_cast<double>(traffic.requests.size()) / (kQuarters * length)});
    }
    return traffic;
  }
  ASSIGN_OR_RETURN(const auto rates, number_list("rates", bench.rates));
  planning::LadderTraffic ladder = bench.ladder;
  for (const int rate : rates) {
    traffic.rungs.push_back({static_cast<double>(traffic.rungs.size()) * ladder.rung_seconds, ladder.rung_seconds, static_cast<double>(rate)});
    ladder.rates.push_back(rate);
  }
  traffic.requests = planning::ladder_traffic(ladder);
  return traffic;
}

std::string body_of(const planning::TrafficRequest& request) {
  std::string prompt;
  int left = request.input;
  for (const std::uint64_t block : request.blocks) {
    std::mt19937_64 random(block);
    for (int i = 0; i < planning::kTraceBlock && left > 0; ++i, --left) {
      prompt += (prompt.empty() ? "" : ",") + std::to_string(16 + random() % 984);
    }
  }
  return "{\"prompt\":[" + prompt + "],\"max_tokens\":" + std::to_string(request.output) +
         ",\"ignore_eos\":true,\"temperature\":0,\"stream\":true,\"stream_options\":{\"include_usage\":true}}";
}

std::string scaled(const std::vector<std::pair<int, double>>& curve, double scale) {
  std::string text;
  for (const auto& [x, ms] : curve) text += (text.empty() ? "" : ",") + std::to_string(x) + ":" + std::to_string(ms * scale);
  return text;
}

// Engines on loopback addresses of their own, all at one port. They publish at the router's socket, under their addresses.
class Cluster {
 public:
  static Result<Cluster> start(const RouteBench& bench, const std::string& policy_name, int longest) {
    Cluster cluster;
    ASSIGN_OR_RETURN(const int port, free_port());
    ASSIGN_OR_RETURN(const int events, free_port());
    ASSIGN_OR_RETURN(const Policy policy, find_policy(policy_name, bench.config_file, events));
    for (int i = 0; i < bench.engines; ++i) {
      const std::string host = "127.0.1." + std::to_string(i + 1);
      std::vector<std::string> words{"serve", bench.model, "--host", host, "--port", std::to_string(port), "--backend", "simulated",
                                     "--simulated.ttft-ms", scaled({{1, 12}, {1000, 75}, {10000, 680}, {100000, 12000}}, bench.time_scale),
                                     "--simulated.itl-ms", scaled({{1, 12}, {32, 18}, {128, 35}}, bench.time_scale),
                                     "--max-num-seqs", std::to_string(bench.max_num_seqs), "--num-gpu-blocks-override", std::to_string(bench.blocks),
                                     "--max-model-len", std::to_string(longest)};
      if (policy.kv_events) {
        words.insert(words.end(), {"--kv-events-config", Json{{"enable_kv_cache_events", true}, {"publisher", "zmq"},
                                                              {"endpoint", "tcp://127.0.0.1:" + std::to_string(events)},
                                                              {"topic", "kv@" + host + ":" + std::to_string(port) + "@simulated"}}.dump()});
      }
      ASSIGN_OR_RETURN(auto engine, ServerProcess::start(std::move(words)));
      cluster.processes_.push_back(std::move(engine));
    }
    std::string endpoints;
    for (const auto& engine : cluster.processes_) {
      ASSIGN_OR_RETURN(std::string url, engine->url(kStart));
      endpoints += (endpoints.empty() ? "" : ",") + url.substr(std::string_view("http://").size());
      cluster.engines_.push_back(std::move(url));
    }
    if (policy.config.empty()) {
      cluster.entries_ = cluster.engines_;
      return cluster;
    }
    const int interval = std::max(1, static_cast<int>(50 * bench.time_scale));
    ASSIGN_OR_RETURN(auto router, ServerProcess::start({"route", "--host", "127.0.0.1", "--port", "0", "--config-text", policy.config, "--no-access-log",
                                                        "--endpoints", endpoints, "--refresh-metrics-interval", std::to_string(interval)}));
    ASSIGN_OR_RETURN(std::string url, router->url(kStart));
    RETURN_IF_ERROR(router->wait_ready(kStart));
    cluster.entries_ = {std::move(url)};
    cluster.router_ = router.get();
    cluster.processes_.push_back(std::move(router));
    return cluster;
  }

  const std::vector<std::string>& entries() const { return entries_; }

  // Whether all that the policy goes by has come: without the caches' events its figures would be those of another.
  Status check_signals() const { return router_ == nullptr ? Status() : router_->wait_ready(std::chrono::seconds(5)); }

  // Of each engine.
  Result<std::vector<double>> metric(const std::string& name) const {
    std::vector<double> values;
    for (const std::string& text : engines_) {
      ASSIGN_OR_RETURN(const net::Url url, net::parse_url(text));
      ASSIGN_OR_RETURN(const auto page, net::HttpClient::create(url.host, url.port)->fetch({.target = "/metrics"}));
      values.push_back(metrics::Samples::parse(page.body).sum(name, "engine", "0"));
    }
    return values;
  }

 private:
  std::vector<std::unique_ptr<ServerProcess>> processes_;
  std::vector<std::string> engines_, entries_;
  ServerProcess* router_ = nullptr;  // of processes_
};

double sum(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

RungResult result_of(const Rung& rung, const Traffic& traffic, const LoadResult& load, double scale) {
  std::vector<double> first;
  double output = 0;
  for (std::size_t i = 0; i < traffic.requests.size(); ++i) {
    const auto& request = traffic.requests[i];
    const double ended = load.ended_at[i] / scale;
    if (ended >= rung.begin && ended < rung.begin + rung.seconds) output += request.output;
    if (request.arrival < rung.begin || request.arrival >= rung.begin + rung.seconds) continue;
    first.push_back(load.first_token_of[i] < 0 ? 1e9 : load.first_token_of[i] / scale);
  }
  return {percentile(first, 90), output / rung.seconds};
}

Result<PolicyResult> measure(const RouteBench& bench, const std::string& policy, const Traffic& traffic) {
  LoadPlan plan;
  int longest = 0;
  for (const auto& request : traffic.requests) {
    plan.bodies.push_back(body_of(request));
    plan.arrivals.push_back(request.arrival * bench.time_scale);
    longest = std::max(longest, request.input + request.output);
  }
  std::fprintf(stderr, "%s: %d engines, %zu requests in %.0f s\n", policy.c_str(), bench.engines, traffic.requests.size(), plan.arrivals.back());
  ASSIGN_OR_RETURN(const Cluster cluster, Cluster::start(bench, policy, longest));
  plan.urls = cluster.entries();
  ASSIGN_OR_RETURN(const LoadResult load, generate_load(plan));
  if (load.end_to_end.empty()) return internal_error(policy + ": no request succeeded: " + load.first_failure);
  if (load.failed > 0) std::fprintf(stderr, "%s: %d requests failed, the first: %s\n", policy.c_str(), load.failed, load.first_failure.c_str());
  RETURN_IF_ERROR(cluster.check_signals());
  ASSIGN_OR_RETURN(const auto hits, cluster.metric("vllm:prefix_cache_hits_total"));
  ASSIGN_OR_RETURN(const auto queries, cluster.metric("vllm:prefix_cache_queries_total"));
  ASSIGN_OR_RETURN(auto work, cluster.metric("vllm:generation_tokens_total"));
  for (std::size_t i = 0; i < work.size(); ++i) work[i] += queries[i] - hits[i];
  PolicyResult result{policy, load.failed, static_cast<double>(load.output_tokens) / load.seconds * bench.time_scale, sum(hits) / std::max(1.0, sum(queries)),
                      *std::max_element(work.begin(), work.end()) * static_cast<double>(work.size()) / std::max(1.0, sum(work)), 0, load.first_token, {}};
  for (double& seconds : result.first_token) seconds /= bench.time_scale;
  for (const Rung& rung : traffic.rungs) {
    result.rungs.push_back(result_of(rung, traffic, load, bench.time_scale));
    if (result.rungs.back().first_token_p90 <= bench.objective) result.kept_up = std::max(result.kept_up, rung.rate);
  }
  return result;
}

void print(const std::vector<PolicyResult>& results, const std::vector<Rung>& rungs) {
  std::printf("%-20s %7s %9s %9s %9s %9s %9s %9s %9s\n", "policy", "failed", "output/s", "hit rate", "busiest", "TTFT p50", "p90", "p99 ms", "kept up");
  for (const PolicyResult& r : results) {
    const auto ms = [&](double p) { return 1e3 * percentile(r.first_token, p); };
    std::printf("%-20s %7d %9.0f %8.1f%% %8.2fx %9.0f %9.0f %9.0f %7.1f/s\n", r.policy.c_str(), r.failed, r.output_per_s, 100 * r.hit_rate, r.busiest, ms(50), ms(90), ms(99), r.kept_up);
  }
  std::printf("\n%-20s", "TTFT p90 ms, tok/s");
  for (const Rung& rung : rungs) std::printf(" %15.1f/s", rung.rate);
  std::puts("");
  for (const PolicyResult& r : results) {
    std::printf("%-20s", r.policy.c_str());
    for (const RungResult& rung : r.rungs) std::printf(" %9.0f %7.0f", 1e3 * rung.first_token_p90, rung.output_per_s);
    std::puts("");
  }
}

Json figures(const std::vector<PolicyResult>& results) {
  Json rows = Json::array();
  for (const PolicyResult& r : results) {
    Json row{{"policy", r.policy}, {"failed", r.failed}, {"output_tokens_per_s", r.output_per_s}, {"hit_rate", r.hit_rate}, {"busiest", r.busiest}, {"kept_up_requests_per_s", r.kept_up}};
    for (const int p : {50, 90, 99}) row["ttft_ms_p" + std::to_string(p)] = 1e3 * percentile(r.first_token, p);
    for (const RungResult& rung : r.rungs) row["rungs"].push_back({{"ttft_ms_p90", 1e3 * rung.first_token_p90}, {"output_tokens_per_s", rung.output_per_s}});
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string plot(const std::vector<PolicyResult>& results, const Traffic& traffic, const RouteBench& bench) {
  const bool trace = !bench.trace.empty();
  LinePlot plot{"time to the first token, 90th percentile", std::to_string(bench.engines) + " simulated engines",
                trace ? "seconds of the trace" : "requests a second", "seconds", false, {}};
  for (const PolicyResult& r : results) {
    PlotLine line{.name = r.policy};
    for (std::size_t i = 0; i < r.rungs.size(); ++i) {
      const Rung& rung = traffic.rungs[i];
      line.points.emplace_back(trace ? rung.begin + rung.seconds / 2 : rung.rate, r.rungs[i].first_token_p90);
    }
    plot.lines.push_back(std::move(line));
  }
  return draw(plot);
}

Status run(const RouteBench& bench) {
  for (const std::string& policy : bench.policies) RETURN_IF_ERROR(find_policy(policy, bench.config_file, 0));
  ASSIGN_OR_RETURN(const Traffic traffic, traffic_of(bench));
  if (traffic.requests.empty()) return invalid_argument("the ladder has no request; give higher --rates or --rung-seconds", "rates");
  ASSIGN_OR_RETURN(OutputFile json, OutputFile::create(bench.json));
  ASSIGN_OR_RETURN(OutputFile svg, OutputFile::create(bench.svg));
  std::vector<PolicyResult> results;
  for (const std::string& policy : bench.policies) {
    ASSIGN_OR_RETURN(PolicyResult result, measure(bench, policy, traffic));
    results.push_back(std::move(result));
  }
  print(results, traffic.rungs);
  RETURN_IF_ERROR(json.write(figures(results).dump(2) + "\n"));
  return svg.write(plot(results, traffic, bench));
}

}  // namespace

int bench_route(Words words) {
  RouteBench settings;
  const auto parsed = config::parse(settings, words, parse_options());
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts(config::help<RouteBench>({"braid bench route [MODEL] [flags]",
        "Sends the same requests through several ways of choosing an engine, each time to fresh simulated engines, and compares how "
        "often a prefix was cached, how evenly the engines worked and how long clients waited.",
        "  braid bench route --svg route.svg\n  braid bench route --trace mooncake_conversation.jsonl --trace-speed 3\n"}).c_str());
    return 0;
  }
  const Status status = run(settings);
  return status.ok() ? 0 : fail(status.error());
}

}  // namespace braid::app
