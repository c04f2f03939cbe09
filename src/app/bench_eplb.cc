// SPDX-License-Identifier: Apache-2.0
// braid bench eplb.
#include <algorithm>
#include <cstdio>
#include <numeric>
#include <sstream>

#include "app/commands.h"
#include "app/expert_loads.h"
#include "app/output_file.h"
#include "app/parse.h"
#include "config/reference.h"
#include "moe/placement/balance.h"
#include "text/files.h"

namespace braid::app {
namespace {

struct EplbBench {
  std::string file;
  double zipf = 0;
  int layers = 4;
  int experts = 64;
  std::int64_t seed = 0;
  std::optional<int> ranks, redundant, groups, nodes;
  std::string svg;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("file", self.file, {.help = "Loads as JSON {\"loads\": [[...], ...]} or CSV, a list or line a layer, a number an expert"});
    v.field("zipf", self.zipf, {.help = "No file, but loads that fall as 1 / rank^zipf", .min = 0, .max = 10});
    v.field("layers", self.layers, {.help = "Layers, with zipf", .min = 1, .max = 10000});
    v.field("experts", self.experts, {.help = "Experts, with zipf", .min = 1, .max = 100000});
    v.field("seed", self.seed, {.help = "Seed of the experts' order, with zipf"});
    v.field("ranks", self.ranks, {.help = "Ranks; unset: the file's, or 2", .min = 1, .max = 4096});
    v.field("num-redundant-experts", self.redundant, {.help = "Slots for further copies; unset: the file's, or 0", .min = 0, .max = 65536});
    v.field("groups", self.groups, {.help = "Groups of experts that the router knows; unset: the file's, or 1", .min = 1, .max = 65536});
    v.field("nodes", self.nodes, {.help = "Hosts; unset: the file's, or 1", .min = 1, .max = 4096});
    v.field("svg", self.svg, {.help = "File for a picture of the ranks' loads"});
  }
};

// Loads of the ranks, before and after balancing.
struct LayerResult {
  std::vector<double> before, after;
};

Result<ExpertLoads> loads_of(const EplbBench& bench) {
  if (bench.file.empty()) return zipf_loads(bench.layers, bench.experts, bench.zipf, static_cast<std::uint64_t>(bench.seed));
  ASSIGN_OR_RETURN(const std::string text, text::read_file(bench.file));
  auto loads = parse_expert_loads(text);
  if (!loads.ok()) return loads.error().within(bench.file);
  return loads;
}

double most(const std::vector<double>& loads) { return *std::max_element(loads.begin(), loads.end()); }

// Even over all layers: mean over maximum, both summed.
double overall(const std::vector<LayerResult>& results, std::vector<double> LayerResult::* side) {
  double mean = 0, peak = 0;
  for (const auto& r : results) {
    mean += std::accumulate((r.*side).begin(), (r.*side).end(), 0.0) / static_cast<double>((r.*side).size());
    peak += most(r.*side);
  }
  return peak > 0 ? mean / peak : 1;
}

// A row a layer; in it a bar a rank, as high as its load is beside the mean, before in grey and after in blue.
std::string picture(const std::vector<LayerResult>& results) {
  constexpr int kWide = 720, kRow = 70, kLeft = 80, kTop = 50;
  std::ostringstream out;
  const int height = kTop + kRow * static_cast<int>(results.size()) + 20;
  out << "<svg xmlns='http://www.w3.org/2000/svg' width='" << kLeft + kWide + 20 << "' height='" << height
      << "' font-family='sans-serif' font-size='13'><rect width='100%' height='100%' fill='white'/>"
      << "<text x='" << kLeft << "' y='26' font-weight='bold'>loads of the ranks, before (grey) and after (blue); the line is the mean</text>\n";
  for (std::size_t i = 0; i < results.size(); ++i) {
    const auto& [before, after] = results[i];
    const double mean = std::accumulate(after.begin(), after.end(), 0.0) / static_cast<double>(after.size());
    const double scale = (kRow - 14) / std::max({most(before), most(after), 1e-9});
    const double base = kTop + kRow * (static_cast<double>(i) + 1) - 8, step = static_cast<double>(kWide) / static_cast<double>(before.size());
    out << "<text x='10' y='" << base - 20 << "'>layer " << i << "</text>";
    for (std::size_t r = 0; r < before.size(); ++r) {
      const auto bar = [&](double load, double offset, const char* colour) {
        out << "<rect x='" << kLeft + step * (static_cast<double>(r) + offset) << "' y='" << base - load * scale << "' width='" << step * 0.38
            << "' height='" << load * scale << "' fill='" << colour << "'/>";
      };
      bar(before[r], 0.1, "#bbb");
      bar(after[r], 0.5, "#36c");
    }
    out << "<line x1='" << kLeft << "' x2='" << kLeft + kWide << "' y1='" << base - mean * scale << "' y2='" << base - mean * scale
        << "' stroke='#c33' stroke-dasharray='4'/>\n";
  }
  out << "</svg>\n";
  return out.str();
}

void print(const std::vector<LayerResult>& results) {
  std::printf("%5s %14s %14s %16s %16s\n", "layer", "balance before", "balance after", "busiest before", "busiest after");
  for (std::size_t i = 0; i < results.size(); ++i) {
    const auto& r = results[i];
    std::printf("%5zu %14.3f %14.3f %16.1f %16.1f\n", i, moe::balancedness(r.before), moe::balancedness(r.after), most(r.before), most(r.after));
  }
  const double before = overall(results, &LayerResult::before), after = overall(results, &LayerResult::after);
  std::printf("%5s %14.3f %14.3f\nthe busiest ranks have %.2f times less to do\n", "all", before, after, after / before);
}

Status run(const EplbBench& bench) {
  ASSIGN_OR_RETURN(const ExpertLoads loads, loads_of(bench));
  ASSIGN_OR_RETURN(OutputFile svg, OutputFile::create(bench.svg));
  const auto pick = [](std::optional<int> flag, std::optional<int> file, int otherwise) { return flag.value_or(file.value_or(otherwise)); };
  const int experts = static_cast<int>(loads.layers.front().size()), ranks = pick(bench.ranks, loads.ranks, 2);
  const int redundant = pick(bench.redundant, loads.redundant, 0);
  const moe::Topology topology{experts + redundant, pick(bench.groups, loads.groups, 1), pick(bench.nodes, loads.nodes, 1), ranks};
  std::vector<LayerResult> results;
  for (const auto& layer : loads.layers) {
    ASSIGN_OR_RETURN(auto balanced, moe::balance(layer, topology));
    const moe::Placement before = moe::Placement::linear(experts, ranks), after(experts, ranks, std::move(balanced.slot_expert));
    results.push_back({moe::rank_loads(before, layer), moe::rank_loads(after, layer)});
  }
  const bool hierarchical = topology.groups % topology.nodes == 0 && topology.nodes > 1;
  std::printf("%d experts, %d redundant, %d ranks, %d nodes, %d groups, policy %s\n", experts, redundant, ranks, topology.nodes,
              topology.groups, hierarchical ? "hierarchical" : "global");
  print(results);
  return svg.write(picture(results));
}

}  // namespace

int bench_eplb(Words words) {
  EplbBench settings;
  auto options = parse_options();
  options.positional_fields = {"file"};
  const auto parsed = config::parse(settings, words, options);
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts(config::help<EplbBench>({"braid bench eplb [FILE] [flags]",
        "How evenly recorded loads of experts would lie on the ranks, one expert after the other and balanced. "
        "--eplb-config.load-file of serve records them.",
        "  braid bench eplb loads.json --ranks 8 --num-redundant-experts 16\n  braid bench eplb --zipf 1 --experts 64 --ranks 8\n"}).c_str());
    return 0;
  }
  if (settings.file.empty() && settings.zipf == 0) {
    return fail(invalid_argument("bench eplb needs a file of loads or --zipf EXPONENT: braid bench eplb --zipf 1 --ranks 8"));
  }
  const Status status = run(settings);
  return status.ok() ? 0 : fail(status.error());
}

}  // namespace braid::app
