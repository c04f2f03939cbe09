// SPDX-License-Identifier: Apache-2.0
// What every simulation of a cluster is told, and what is made of it.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "config/describe.h"
#include "planning/report.h"

namespace braid::app {

struct PlanSettings {
  std::string model = "bench/shapes/deepseek-v3";
  std::string costs = "bench/costs/h100.json";
  std::string layout = "1x32";
  std::string trace;
  double speed = 1;
  double rate = 10;
  double duration = 60;
  int input = 2048, output = 256;
  std::string router_config;
  double first_token = 2000, token_time = 50;
  int max_sequences = 256, max_batched_tokens = 8192;
  int ranks_per_node = 8;
  double memory = 0;
  bool eplb = true, dbo = false;
  int drafts = 0;
  double acceptance = 0.8;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("model", self.model, {.help = "Folder with the config.json of the model"});
    v.field("costs", self.costs, {.help = "Table of what was measured on one machine (bench/costs)"});
    v.field("layout", self.layout, {.help = "Groups of ranks: 4x8, or 2x8P1x32D for prefill apart from decode"});
    v.field("trace", self.trace, {.help = "Requests to replay, Mooncake's JSON lines; empty: Poisson arrivals of the next four"});
    v.field("speed", self.speed, {.help = "How much faster than recorded the trace arrives", .min = 0.001, .max = 1000});
    v.field("rate", self.rate, {.help = "Arrivals", .unit = "requests/s", .min = 0.001, .max = 1e5});
    v.field("duration", self.duration, {.help = "For so long", .unit = "seconds", .min = 0.1, .max = 1e6});
    v.field("input", self.input, {.help = "Prompt of each", .unit = "tokens", .min = 1, .max = 1 << 20});
    v.field("output", self.output, {.help = "Answer of each", .unit = "tokens", .min = 1, .max = 1 << 20});
    v.field("router-config", self.router_config, {.help = "EndpointPickerConfig of the router; empty: prefix, queue and load"});
    v.field("ttft", self.first_token, {.help = "Objective: time to first token", .unit = "ms", .min = 1});
    v.field("itl", self.token_time, {.help = "Objective: time between tokens", .unit = "ms", .min = 0.1});
    v.field("max-num-seqs", self.max_sequences, {.help = "Most running sequences of a rank", .min = 1, .max = 65536});
    v.field("max-num-batched-tokens", self.max_batched_tokens, {.help = "Most tokens of a step of a rank", .min = 16, .max = 1 << 20});
    v.field("ranks-per-node", self.ranks_per_node, {.help = "Ranks that the fast link joins", .min = 1, .max = 1024});
    v.field("memory", self.memory, {.help = "Memory of a rank; 0: that of the table's machine", .unit = "GB", .min = 0, .max = 1e4});
    v.field("eplb", self.eplb, {.help = "Experts are balanced over the ranks"});
    v.field("dbo", self.dbo, {.help = "Two micro-batches hide the exchange"});
    v.field("drafts", self.drafts, {.help = "Tokens that a draft module guesses in each step", .min = 0, .max = 8});
    v.field("acceptance", self.acceptance, {.help = "Share of guesses that come true, each behind one that did", .min = 0, .max = 1});
  }

  planning::Choices choices() const {
    planning::Choices c;
    c.max_sequences = max_sequences;
    c.max_batched_tokens = max_batched_tokens;
    c.ranks_per_node = ranks_per_node;
    c.eplb = eplb;
    c.dbo = dbo;
    c.drafts = drafts;
    c.acceptance = acceptance;
    return c;
  }
  planning::Objectives objectives() const { return {first_token / 1e3, token_time / 1e3}; }
};

// Everything but the traffic. Errors name the setting.
Result<planning::ClusterOptions> cluster_options(const PlanSettings& settings);
Result<std::vector<planning::TrafficRequest>> traffic_of(const PlanSettings& settings);

}  // namespace braid::app
