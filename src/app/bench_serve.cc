// SPDX-License-Identifier: Apache-2.0
// braid bench serve.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "app/commands.h"
#include "app/latency_plot.h"
#include "app/load_generator.h"
#include "app/output_file.h"
#include "app/parse.h"
#include "config/reference.h"

namespace braid::app {
namespace {

using Json = nlohmann::ordered_json;

struct ServeBench {
  std::string url = "http://localhost:8000";
  std::string model;
  std::string api_key;
  std::string dataset;
  int random_input_len = 128;
  int random_output_len = 64;
  int random_vocabulary = 1000;
  int num_prompts = 100;
  double request_rate = 0;
  int max_concurrency = 0;
  std::int64_t seed = 0;
  std::string json;
  std::string svg;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("url", self.url, {.help = "Server to measure"});
    v.field("model", self.model, {.help = "Model name; unset: the server's"});
    v.field("api-key", self.api_key, {.help = "Key, if the server wants one", .environment = "OPENAI_API_KEY"});
    v.field("dataset", self.dataset, {.help = "JSON lines {\"prompt\": text} or {\"messages\": [...]}; unset: random token ids"});
    v.field("random-input-len", self.random_input_len, {.help = "Length of random prompts", .unit = "tokens", .min = 1});
    v.field("random-output-len", self.random_output_len, {.help = "Tokens generated per request", .unit = "tokens", .min = 1});
    v.field("random-vocabulary", self.random_vocabulary, {.help = "Random ids are below this and above 15", .min = 17});
    v.field("num-prompts", self.num_prompts, {.help = "Requests in all", .unit = "requests", .min = 1, .max = 1e6});
    v.field("request-rate", self.request_rate, {.help = "Poisson arrivals; 0: as fast as the concurrency allows", .unit = "requests/s", .min = 0});
    v.field("max-concurrency", self.max_concurrency, {.help = "Most requests at a time; 0: no limit", .min = 0});
    v.field("seed", self.seed, {.help = "Seed of prompts and arrivals"});
    v.field("json", self.json, {.help = "File for the figures as JSON"});
    v.field("svg", self.svg, {.help = "File for a plot of the latencies"});
  }
};

Json base_body(const ServeBench& bench) {
  Json body = {{"stream", true}, {"stream_options", {{"include_usage", true}}}, {"max_tokens", bench.random_output_len},
               {"ignore_eos", true}, {"temperature", 0}};
  if (!bench.model.empty()) body["model"] = bench.model;
  return body;
}

std::vector<std::string> random_bodies(const ServeBench& bench) {
  std::mt19937_64 random(static_cast<std::uint64_t>(bench.seed));
  std::uniform_int_distribution<int> id(16, bench.random_vocabulary - 1);
  std::vector<std::string> bodies;
  for (int i = 0; i < bench.num_prompts; ++i) {
    Json body = base_body(bench);
    body["prompt"] = Json::array();
    for (int t = 0; t < bench.random_input_len; ++t) body["prompt"].push_back(id(random));
    bodies.push_back(body.dump());
  }
  return bodies;
}

Status dataset_bodies(const ServeBench& bench, LoadPlan& plan) {
  std::ifstream file(bench.dataset);
  if (!file) return Error{ErrorCode::kNotFound, "can't read the dataset " + bench.dataset, "dataset"};
  std::string line;
  for (int number = 1; static_cast<int>(plan.bodies.size()) < bench.num_prompts && std::getline(file, line); ++number) {
    const Json row = Json::parse(line, nullptr, false);
    const bool chat = row.is_object() && row.contains("messages");
    if (!chat && !(row.is_object() && row.contains("prompt"))) {
      return invalid_argument(bench.dataset + " line " + std::to_string(number) + ": expected {\"prompt\": ...} or {\"messages\": ...}", "dataset");
    }
    if (!plan.bodies.empty() && chat != plan.chat) return invalid_argument(bench.dataset + ": prompts and messages are mixed", "dataset");
    plan.chat = chat;
    Json body = base_body(bench);
    body.update(row);
    plan.bodies.push_back(body.dump());
  }
  return {};
}

Json figures(const LoadResult& r) {
  const auto ms = [](const std::vector<double>& v) {
    Json j = {{"mean", 1e3 * std::accumulate(v.begin(), v.end(), 0.0) / static_cast<double>(std::max<std::size_t>(1, v.size()))}};
    for (const int p : {50, 90, 99}) j["p" + std::to_string(p)] = 1e3 * percentile(v, p);
    return j;
  };
  return {{"seconds", r.seconds}, {"completed", r.end_to_end.size()}, {"failed", r.failed},
          {"requests_per_s", static_cast<double>(r.end_to_end.size()) / r.seconds},
          {"prompt_tokens_per_s", static_cast<double>(r.prompt_tokens) / r.seconds},
          {"output_tokens_per_s", static_cast<double>(r.output_tokens) / r.seconds},
          {"ttft_ms", ms(r.first_token)}, {"itl_ms", ms(r.gaps)}, {"e2e_ms", ms(r.end_to_end)}};
}

void print_row(const char* name, const std::vector<double>& seconds) {
  std::printf("%-22s", name);
  for (const int p : {50, 90, 99}) std::printf(" %10.1f", 1e3 * percentile(seconds, p));
  std::puts("");
}

void print(const LoadResult& r) {
  std::printf("%zu requests in %.2f s, %d failed\n", r.end_to_end.size(), r.seconds, r.failed);
  std::printf("%-22s %10.2f\n", "requests/s", static_cast<double>(r.end_to_end.size()) / r.seconds);
  std::printf("%-22s %10.1f\n", "prompt tokens/s", static_cast<double>(r.prompt_tokens) / r.seconds);
  std::printf("%-22s %10.1f\n", "output tokens/s", static_cast<double>(r.output_tokens) / r.seconds);
  std::printf("%-22s %10s %10s %10s\n", "milliseconds", "p50", "p90", "p99");
  print_row("time to first token", r.first_token);
  print_row("inter-token latency", r.gaps);
  print_row("end to end", r.end_to_end);
  if (r.failed > 0) std::printf("first failure: %s\n", r.first_failure.c_str());
}

Status run(const ServeBench& bench) {
  LoadPlan plan{.urls = {bench.url}, .api_key = bench.api_key, .request_rate = bench.request_rate,
                .max_concurrency = bench.max_concurrency, .seed = static_cast<std::uint64_t>(bench.seed)};
  if (bench.dataset.empty()) plan.bodies = random_bodies(bench);
  else RETURN_IF_ERROR(dataset_bodies(bench, plan));
  ASSIGN_OR_RETURN(OutputFile json, OutputFile::create(bench.json));
  ASSIGN_OR_RETURN(OutputFile svg, OutputFile::create(bench.svg));
  std::fprintf(stderr, "sending %zu requests to %s\n", plan.bodies.size(), bench.url.c_str());
  ASSIGN_OR_RETURN(const LoadResult result, generate_load(plan));
  if (result.end_to_end.empty()) return internal_error("no request succeeded: " + result.first_failure);
  print(result);
  RETURN_IF_ERROR(json.write(figures(result).dump(2) + "\n"));
  return svg.write(latency_plot(result));
}

}  // namespace

int bench_serve(Words words) {
  ServeBench settings;
  auto options = parse_options();
  options.positional_fields = {"url"};
  const auto parsed = config::parse(settings, words, options);
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts(config::help<ServeBench>({"braid bench serve [URL] [flags]",
        "Measures what clients of a server see: time to first token, inter-token latency, throughput. Closed loop "
        "with --max-concurrency, open loop with --request-rate.", ""}).c_str());
    return 0;
  }
  const Status status = run(settings);
  return status.ok() ? 0 : fail(status.error());
}

}  // namespace braid::app
