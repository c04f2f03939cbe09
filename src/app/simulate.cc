// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <optional>

#include "app/commands.h"
#include "app/line_plot.h"
#include "app/output_file.h"
#include "app/parse.h"
#include "app/plan_settings.h"
#include "config/reference.h"

namespace braid::app {
namespace {

using planning::Resource;

struct SimulateSettings {
  PlanSettings plan;
  int sweep = 0;
  std::string project;
  int batch = 128;
  int context = 4096;
  std::string svg;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.group("Cluster", self.plan);
    v.field("sweep", self.sweep, {.help = "Try all layouts of so many ranks, best first; 0: only --layout", .min = 0, .max = 1024});
    v.field("project", self.project, {.help = "Instead of traffic: one decode step at these widths of expert parallelism, as 8,16,32"});
    v.field("batch", self.batch, {.help = "Sequences of a rank in --project", .min = 1, .max = 65536});
    v.field("context", self.context, {.help = "Tokens of each in --project", .unit = "tokens", .min = 1, .max = 1 << 20});
    v.field("svg", self.svg, {.help = "File for a picture"});
  }
};

void print_source(const planning::CostTable& costs) {
  std::printf("costs: %s, measured %s; %zu steps, predicted each from the others within %.0f %% (9 of 10)\n", costs.machine.c_str(), costs.date.c_str(),
              costs.steps.size(), 100 * costs.error_bar());
  std::printf("link in a node: %s\nlink between nodes: %s\n\n", costs.node_source.c_str(), costs.fabric_source.c_str());
}

// Step times of other models, sizes and widths than those measured are as sure as the fit at best.
void print_projection(const std::vector<planning::Projection>& rows, double error) {
  std::printf("%4s %6s %9s %10s %9s %8s", "EP", "batch", "GB/rank", "cache tok", "step ms", "+-");
  for (int r = 0; r < planning::kResources; ++r) std::printf(" %11s", std::string(name_of(static_cast<Resource>(r))).c_str());
  std::printf(" %10s  %s\n", "tok/s/rank", "limit");
  for (const auto& row : rows) {
    std::printf("%4d ", row.ranks);
    if (!row.fits) {
      std::printf("%6s %9.1f  the weights leave no room for a cache\n", "-", row.weight_bytes / 1e9);
      continue;
    }
    std::printf("%6d %9.1f %10.0f %9.2f %8.2f", row.batch, row.weight_bytes / 1e9, row.cache_tokens, 1e3 * row.time.seconds(), 1e3 * error * row.time.seconds());
    for (const double part : row.time.parts) std::printf(" %11.2f", 1e3 * part);
    std::printf(" %10.0f  %s\n", row.tokens_per_s, std::string(name_of(row.time.limit())).c_str());
  }
}

LinePlot projection_plot(const std::vector<planning::Projection>& rows, const SimulateSettings& settings) {
  LinePlot plot{.title = "One decode step by width of expert parallelism", .subtitle = settings.plan.model + ", " + settings.plan.costs,
                .x_name = "ranks", .y_name = "ms", .logarithmic_x = true, .lines = {}};
  PlotLine all{.name = "step", .points = {}};
  for (const auto& row : rows) {
    if (row.fits) all.points.emplace_back(row.ranks, 1e3 * row.time.seconds());
  }
  plot.lines.push_back(all);
  for (int r = 0; r < planning::kResources; ++r) {
    PlotLine line{.name = std::string(name_of(static_cast<Resource>(r))), .points = {}, .dashed = true};
    for (const auto& row : rows) {
      if (row.fits) line.points.emplace_back(row.ranks, 1e3 * row.time[static_cast<Resource>(r)]);
    }
    plot.lines.push_back(line);
  }
  return plot;
}

Status project(const SimulateSettings& settings) {
  ASSIGN_OR_RETURN(const auto widths, number_list("project", settings.project));
  ASSIGN_OR_RETURN(OutputFile svg, OutputFile::create(settings.svg));
  ASSIGN_OR_RETURN(const auto options, cluster_options(settings.plan));
  const auto rows = planning::project(options.model, options.costs, options.choices, widths, settings.batch, settings.context);
  print_source(options.costs);
  print_projection(rows, options.costs.error_bar());
  return svg.write(draw(projection_plot(rows, settings)));
}

struct Tried {
  planning::Layout layout;
  planning::Summary summary;
};

void print_row(const Tried& tried) {
  const auto& s = tried.summary;
  std::printf("%-14s %8.2f %8.0f %8.1f %6.1f %8.0f %8.0f %8.0f %7.1f %7.1f %7.1f  %s of %s, busy %.0f %%\n", to_text(tried.layout).c_str(), s.requests_per_s, s.output_per_s,
              s.output_per_rank_s, 100 * s.hit_rate, 1e3 * s.first_token[0], 1e3 * s.first_token[1], 1e3 * s.first_token[2], 1e3 * s.token_time[0],
              1e3 * s.token_time[2], 100 * s.attainment, std::string(name_of(s.limit)).c_str(), std::string(name_of(s.busiest)).c_str(), 100 * s.busiest_share);
}

// Groups that fill `ranks`: together, or prefill apart, groups of one role all alike.
std::vector<planning::Layout> layouts_of(int ranks) {
  std::vector<planning::Layout> layouts;
  for (int width = 1; width <= ranks; ++width) {
    if (ranks % width == 0) layouts.push_back({.both = planning::Groups{ranks / width, width}, .prefill = {}, .decode = {}});
  }
  for (int prefill = std::max(1, ranks / 8); prefill < ranks; prefill += std::max(1, ranks / 8)) {
    const int decode = ranks - prefill;
    for (int p = 1; p <= prefill; ++p) {
      if (prefill % p != 0) continue;
      for (int d = 1; d <= decode; ++d) {
        if (decode % d == 0) layouts.push_back({.both = {}, .prefill = planning::Groups{prefill / p, p}, .decode = planning::Groups{decode / d, d}});
      }
    }
  }
  return layouts;
}

Result<std::vector<Tried>> try_layouts(planning::ClusterOptions options, const SimulateSettings& settings, const std::vector<planning::Layout>& layouts,
                                       const std::vector<planning::TrafficRequest>& traffic, double& simulated) {
  std::vector<Tried> tried;
  std::optional<Error> first;
  for (const planning::Layout& layout : layouts) {
    options.layout = layout;
    const auto outcome = planning::simulate(options, traffic);
    if (!outcome.ok()) {
      if (!first) first = outcome.error();
      continue;
    }
    simulated += outcome->seconds;
    tried.push_back({layout, summarize(*outcome, layout, settings.plan.objectives())});
  }
  if (tried.empty()) return first ? *first : invalid_argument("there is no layout to try", "layout");
  std::stable_sort(tried.begin(), tried.end(), [](const Tried& a, const Tried& b) {
    if (a.summary.attainment != b.summary.attainment) return a.summary.attainment > b.summary.attainment;
    return a.summary.first_token[2] < b.summary.first_token[2];
  });
  return tried;
}

LinePlot layouts_plot(const std::vector<Tried>& tried) {
  LinePlot plot{.title = "Objectives met by layout, best first", .subtitle = "best: " + to_text(tried.front().layout), .x_name = "layout", .y_name = "%", .lines = {}};
  PlotLine line{.name = "requests that met both objectives", .points = {}, .steps = true};
  for (std::size_t i = 0; i < tried.size(); ++i) line.points.emplace_back(static_cast<double>(i), 100 * tried[i].summary.attainment);
  plot.lines.push_back(line);
  return plot;
}

Status run(const SimulateSettings& settings) {
  ASSIGN_OR_RETURN(OutputFile svg, OutputFile::create(settings.svg));
  ASSIGN_OR_RETURN(const auto options, cluster_options(settings.plan));
  ASSIGN_OR_RETURN(const auto traffic, traffic_of(settings.plan));
  const auto layouts = settings.sweep > 0 ? layouts_of(settings.sweep) : std::vector{options.layout};
  const SteadyClock clock;
  const TimePoint begin = clock.now();
  double simulated = 0;
  ASSIGN_OR_RETURN(const auto tried, try_layouts(options, settings, layouts, traffic, simulated));
  const double spent = to_seconds(clock.now() - begin);
  print_source(options.costs);
  std::printf("%-14s %8s %8s %8s %6s %8s %8s %8s %7s %7s %7s  %s\n", "layout", "req/s", "out/s", "out/s/rk", "hit %", "ttft p50", "p90", "p99", "itl p50", "p99", "slo %", "limit");
  for (const Tried& each : tried) print_row(each);
  std::printf("\n%zu requests over %.0f s; times in ms; simulated %.0f times as fast as real time\n", traffic.size(), traffic.back().arrival, simulated / spent);
  return svg.write(draw(layouts_plot(tried)));
}

}  // namespace

int simulate(Words words) {
  SimulateSettings settings;
  auto options = parse_options();
  const auto parsed = config::parse(settings, words, options);
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts(config::help<SimulateSettings>({"braid simulate [MODEL] [flags]",
        "What a layout of ranks would do under a trace: the engine's scheduler and the router's decisions in simulated time, with measured costs.", ""}).c_str());
    return 0;
  }
  const Status status = settings.project.empty() ? run(settings) : project(settings);
  return status.ok() ? 0 : fail(status.error());
}

}  // namespace braid::app
