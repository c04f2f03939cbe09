// SPDX-License-Identifier: Apache-2.0
// braid bench autoscale: ways to decide about scale under one trace, beside an oracle.
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "app/commands.h"
#include "app/line_plot.h"
#include "app/output_file.h"
#include "app/parse.h"
#include "app/plan_settings.h"
#include "config/reference.h"
#include "planning/policies.h"

namespace braid::app {
namespace {

struct AutoscaleBench {
  PlanSettings plan;
  int most = 64;
  double copies = 1;
  double burst = 1, burst_at = 0, burst_seconds = 120;
  double startup = 90, interval = 15;
  double queue_target = 5;
  double attainment = 95;
  bool explain = false;
  std::string svg;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.group("Cluster", self.plan);
    v.field("most", self.most, {.help = "Most groups", .min = 1, .max = 1024});
    v.field("copies", self.copies, {.help = "How often each request of the trace is sent, with a prompt of its own each time", .min = 1, .max = 100});
    v.field("burst", self.burst, {.help = "Times as many requests in the burst", .min = 1, .max = 100});
    v.field("burst-at", self.burst_at, {.help = "When it begins", .unit = "seconds", .min = 0});
    v.field("burst-seconds", self.burst_seconds, {.help = "How long it lasts", .unit = "seconds", .min = 0});
    v.field("startup", self.startup, {.help = "From the wish for a group to its first step", .unit = "seconds", .min = 0, .max = 3600});
    v.field("interval", self.interval, {.help = "Between decisions", .unit = "seconds", .min = 1, .max = 600});
    v.field("queue-target", self.queue_target, {.help = "Waiting requests of a group that the HorizontalPodAutoscaler aims at", .min = 0.1, .max = 1000});
    v.field("attainment", self.attainment, {.help = "Share of requests whose objectives must be kept: the budget of Braid's controller, and what the oracle has to reach", .unit = "%", .min = 1, .max = 100});
    v.field("explain", self.explain, {.help = "Print every decision of Braid's controller with its reason"});
    v.field("svg", self.svg, {.help = "File for a picture of the groups over time"});
  }
};

struct Trial {
  std::string name;
  planning::ClusterOutcome outcome;
  planning::Summary summary;
  int changes = 0;
};

int changes_of(const planning::ClusterOutcome& outcome) {
  int changes = 0;
  for (std::size_t i = 1; i < outcome.scale.size(); ++i) changes += outcome.scale[i].groups != outcome.scale[i - 1].groups;
  return changes;
}

void print_decision(double now, planning::Role role, const autoscale::ScaleDecision& decision) {
  std::printf("%6.0f s %s: %s\n", now, std::string(name_of(role)).c_str(), decision.reason.c_str());
}

class Comparison {
 public:
  Comparison(const AutoscaleBench& bench, planning::ClusterOptions options, std::vector<planning::TrafficRequest> traffic)
      : bench_(bench), options_(std::move(options)), traffic_(std::move(traffic)) {}

  Status run() {
    const auto& plan = bench_.plan;
    const autoscale::Objectives aims{plan.first_token / 1e3, plan.token_time / 1e3, bench_.attainment / 100};
    RETURN_IF_ERROR(add("braid", planning::braid_scaler(options_.layout, aims, {.most = bench_.most}, bench_.explain ? print_decision : planning::Told())));
    RETURN_IF_ERROR(add("HPA on queue", planning::hpa_queue_scaler(bench_.queue_target, bench_.most)));
    RETURN_IF_ERROR(add("WVA saturation", planning::saturation_scaler(bench_.most)));
    return options_.layout.divided() ? Status() : add_oracle();
  }

  void print() const {
    std::printf("%-18s %7s %9s %9s %9s %9s %12s %7s %6s %s\n", "policy", "slo %", "ttft p50", "p90", "p99", "itl p99", "group-hours", "ratio", "moves", "groups");
    const double best = results_.back().summary.rank_hours;
    for (const auto& r : results_) {
      const auto& s = r.summary;
      std::printf("%-18s %7.2f %9.0f %9.0f %9.0f %9.1f %12.2f %7.2f %6d", r.name.c_str(), 100 * s.attainment, 1e3 * s.first_token[0], 1e3 * s.first_token[1],
                  1e3 * s.first_token[2], 1e3 * s.token_time[2], s.rank_hours, s.rank_hours / best, r.changes);
      for (const auto& role : r.outcome.roles) {
        if (role.most > 0) std::printf(" %d..%d", role.least, role.most);
      }
      std::printf("\n");
    }
  }

  std::string picture() const {
    LinePlot plot{.title = "Groups over time", .subtitle = std::filesystem::path(bench_.plan.trace).filename().string(), .x_name = "seconds", .y_name = "groups", .lines = {}};
    for (const auto& r : results_) {
      PlotLine line{.name = r.name, .points = {}, .steps = true, .dashed = r.name.starts_with("oracle")};
      for (const auto& point : r.outcome.scale) line.points.emplace_back(point.at, point.groups[0] + point.groups[1] + point.groups[2]);
      plot.lines.push_back(std::move(line));
    }
    return draw(plot);
  }

 private:
  Result<Trial> tried(const std::string& name, const planning::Scaler& scaler) const {
    ASSIGN_OR_RETURN(auto outcome, planning::simulate(options_, traffic_, scaler));
    Trial result{name, std::move(outcome), {}, 0};
    result.summary = summarize(result.outcome, options_.layout, bench_.plan.objectives());
    result.changes = changes_of(result.outcome);
    return result;
  }

  Status add(const std::string& name, const planning::Scaler& scaler) {
    ASSIGN_OR_RETURN(auto result, tried(name, scaler));
    results_.push_back(std::move(result));
    return {};
  }

  // The cheapest of its loads that keeps enough objectives, else the one that keeps most.
  Status add_oracle() {
    std::optional<Trial> best;
    for (const double load : {0.9, 0.75, 0.6, 0.5, 0.4}) {
      char name[32];
      std::snprintf(name, sizeof name, "oracle, load %.2f", load);
      ASSIGN_OR_RETURN(auto result, tried(name, planning::oracle_scaler(options_, traffic_, load, bench_.startup + 2 * bench_.interval)));
      const bool enough = 100 * result.summary.attainment >= bench_.attainment;
      if (!best || result.summary.attainment > best->summary.attainment) best = std::move(result);
      if (enough) break;
    }
    results_.push_back(*std::move(best));
    return {};
  }

  const AutoscaleBench& bench_;
  planning::ClusterOptions options_;
  std::vector<planning::TrafficRequest> traffic_;
  std::vector<Trial> results_;
};

Status run(const AutoscaleBench& bench) {
  ASSIGN_OR_RETURN(OutputFile svg, OutputFile::create(bench.svg));
  ASSIGN_OR_RETURN(auto options, cluster_options(bench.plan));
  ASSIGN_OR_RETURN(auto traffic, traffic_of(bench.plan));
  if (bench.copies > 1) traffic = planning::with_burst(traffic, 0, 1e12, bench.copies);
  if (bench.burst > 1) traffic = planning::with_burst(traffic, bench.burst_at, bench.burst_seconds, bench.burst);
  options.startup = bench.startup;
  options.interval = bench.interval;
  Comparison comparison(bench, std::move(options), std::move(traffic));
  RETURN_IF_ERROR(comparison.run());
  comparison.print();
  return svg.write(comparison.picture());
}

}  // namespace

int bench_autoscale(Words words) {
  AutoscaleBench settings;
  const auto parsed = config::parse(settings, words, parse_options());
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts(config::help<AutoscaleBench>({"braid bench autoscale [MODEL] [flags]",
        "Braid's controller beside others and an oracle in simulated time: objectives kept and hours of groups.", ""}).c_str());
    return 0;
  }
  const Status status = run(settings);
  return status.ok() ? 0 : fail(status.error());
}

}  // namespace braid::app
