// SPDX-License-Identifier: Apache-2.0
// braid bench dispatch: ranks are threads, each on a processor of its own, that exchange through
// shared memory as the processes of a server do.
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <sstream>

#include "app/commands.h"
#include "app/dispatch_plot.h"
#include "app/output_file.h"
#include "app/parse.h"
#include "backend/cpu/backend.h"
#include "config/reference.h"
#include "fabric/testing/local_bootstrap.h"
#include "moe/expert_parallel.h"
#include "transport/shm/shm.h"

namespace braid::app {
namespace {

struct DispatchBench {
  int ranks = 2;
  std::string backends = "low_latency,high_throughput,flexible,allgather_reducescatter";
  std::string tokens = "1,8,32,128,512,4096";
  int hidden = 7168;
  int experts = 256;
  int top_k = 8;
  int buffer_tokens = 0;
  std::string dtype = "bfloat16";
  std::string payload = "auto";
  std::string results = "cached";
  double seconds = 0.5;
  std::string json;
  std::string svg;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("ranks", self.ranks, {.help = "Ranks, each a thread on a processor of its own", .min = 1, .max = 64});
    v.field("all2all-backend", self.backends, {.help = "Backends to measure, separated by commas"});
    v.field("tokens", self.tokens, {.help = "Tokens of each rank, separated by commas", .unit = "tokens"});
    v.field("hidden", self.hidden, {.help = "Columns of a token's row", .min = 1, .max = 1 << 20});
    v.field("experts", self.experts, {.help = "Experts, spread over the ranks; tokens choose at random", .min = 1, .max = 1 << 15});
    v.field("top-k", self.top_k, {.help = "Experts of a token", .min = 1, .max = 32});
    v.field("moe-buffer-tokens", self.buffer_tokens,
            {.help = "Most tokens of one dispatch, more go in chunks; 0: all at once", .unit = "tokens", .min = 0, .max = 65536});
    v.field("dtype", self.dtype, {.help = "Activations", .choices = {"bfloat16", "float32"}});
    v.field("all2all-payload", self.payload,
            {.help = "auto: results return as bfloat16 where activations are; exact: as float32; fp8: rows go as e4m3", .choices = {"auto", "exact", "fp8"}});
    v.field("results", self.results,
            {.help = "Where experts leave their results: cached measures what travels; memory has a row for each "
                     "token and expert, and reading those weighs more than what travels",
             .choices = {"cached", "memory"}});
    v.field("seconds", self.seconds, {.help = "Time spent on each case", .unit = "seconds", .min = 0.001, .max = 60});
    v.field("json", self.json, {.help = "File for one JSON line a case"});
    v.field("svg", self.svg, {.help = "File for a plot of the times"});
  }
};

TimePoint now() { return std::chrono::steady_clock::now(); }

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// What one rank measured in one case.
struct Times {
  double dispatch = 0, combine = 0;
  double copy_out = 0, copy_back = 0;
  double dispatched_bytes = 0, returned_bytes = 0;
};

// One rank of the group, in its thread. Rounds follow each other without barriers: a round ends when
// all others have answered.
class RankBench {
 public:
  RankBench(const DispatchBench& bench, fabric::Bootstrap& bootstrap, moe::PrepareFinalize& prepare)
      : bench_(bench), bootstrap_(bootstrap), prepare_(prepare),
        placement_(moe::Placement::linear(bench.experts, bench.ranks)) {}

  Result<Times> run(int tokens) {
    make_tokens(tokens);
    std::vector<double> dispatch, combine;
    ASSIGN_OR_RETURN(const int rounds, agree_on_rounds([&] { return round(dispatch, combine); }));
    dispatch.clear();
    combine.clear();
    const moe::Traffic before = prepare_.traffic();
    for (int i = 0; i < rounds; ++i) RETURN_IF_ERROR(round(dispatch, combine));
    const moe::Traffic after = prepare_.traffic();
    Times times{median(dispatch), median(combine), 0, 0,
                static_cast<double>(after.dispatched_bytes - before.dispatched_bytes) / rounds,
                static_cast<double>(after.returned_bytes - before.returned_bytes) / rounds};
    ASSIGN_OR_RETURN(times.copy_out, copy(static_cast<std::size_t>(times.dispatched_bytes)));
    ASSIGN_OR_RETURN(times.copy_back, copy(static_cast<std::size_t>(times.returned_bytes)));
    return times;
  }

 private:
  void make_tokens(int tokens) {
    const auto count = static_cast<std::size_t>(tokens), k = static_cast<std::size_t>(bench_.top_k);
    const DType dtype = bench_.dtype == "float32" ? DType::kF32 : DType::kBF16;
    input_ = prepare_.staging().slice_rows(0, tokens);
    if (!input_.data) {
      x_ = Buffer(count * static_cast<std::size_t>(bench_.hidden) * size_of(dtype));
      input_ = {x_.data(), dtype, tokens, bench_.hidden, bench_.hidden};
    }
    for (std::int64_t t = 0; t < tokens; ++t) std::memset(input_.row(t), 0, static_cast<std::size_t>(bench_.hidden) * size_of(dtype));
    std::mt19937 random(static_cast<unsigned>(bootstrap_.rank()) + 1);
    std::vector<std::int32_t> all(static_cast<std::size_t>(bench_.experts));
    std::iota(all.begin(), all.end(), 0);
    ids_.clear();
    for (std::size_t t = 0; t < count; ++t) {
      for (std::size_t j = 0; j < k; ++j) {  // the first k of a shuffle
        std::swap(all[j], all[j + random() % (all.size() - j)]);
        ids_.push_back(all[j]);
      }
    }
    weights_.assign(count * k, 1.0f / static_cast<float>(bench_.top_k));
    hidden_ = Buffer(count * static_cast<std::size_t>(bench_.hidden) * sizeof(float));
    std::memset(hidden_.data(), 0, hidden_.size());
  }

  Matrix<const float> results(std::int64_t rows) {
    const bool one = bench_.results == "cached";
    const auto bytes = static_cast<std::size_t>((one ? 1 : rows) * bench_.hidden) * sizeof(float);
    if (results_.size() < bytes) {
      results_ = Buffer(bytes);
      std::memset(results_.data(), 0, bytes);
    }
    return {results_.as<float>(), rows, bench_.hidden, one ? 0 : bench_.hidden};
  }

  // A layer's step, in chunks where the backend wants that.
  Status round(std::vector<double>& dispatch, std::vector<double>& combine) {
    Duration out{}, back{};
    for (std::int64_t first = 0; first < input_.rows; first += prepare_.max_tokens()) {
      const std::int64_t count = std::min(prepare_.max_tokens(), input_.rows - first), choice = first * bench_.top_k;
      const TimePoint begin = now();
      RETURN_IF_ERROR(prepare_.send(input_.slice_rows(first, count),
                                    {count, bench_.top_k, ids_.data() + choice, weights_.data() + choice, &placement_}, 0));
      ASSIGN_OR_RETURN(const moe::Dispatched arrived, prepare_.receive());
      const Matrix<const float> rows = results(arrived.rows());
      const TimePoint middle = now();
      RETURN_IF_ERROR(prepare_.send_back(rows));
      RETURN_IF_ERROR(prepare_.collect({hidden_.as<float>() + first * bench_.hidden, count, bench_.hidden}));
      out += middle - begin;
      back += now() - middle;
    }
    dispatch.push_back(to_seconds(out));
    combine.push_back(to_seconds(back));
    return Status::success();
  }

  // How often body() fits into the time of a case, the same number on all ranks.
  template <class Body>
  Result<int> agree_on_rounds(Body body) {
    RETURN_IF_ERROR(body());
    RETURN_IF_ERROR(bootstrap_.all_gather(""));
    const TimePoint begin = now();
    for (int i = 0; i < 3; ++i) RETURN_IF_ERROR(body());
    const double each = to_seconds(now() - begin) / 3;
    const int wanted = static_cast<int>(std::clamp(bench_.seconds / each, 3.0, 1e6));
    ASSIGN_OR_RETURN(const auto all, bootstrap_.all_gather(std::to_string(wanted)));
    return std::atoi(all.front().c_str());
  }

  // All ranks copy `bytes` at once, from memory of their own to memory of their own.
  Result<double> copy(std::size_t bytes) {
    const Buffer from(bytes), to(bytes);
    std::memset(from.data(), 1, bytes);
    std::vector<double> times;
    const auto once = [&]() -> Status {
      const TimePoint begin = now();
      std::memcpy(to.data(), from.data(), bytes);
      std::atomic_signal_fence(std::memory_order_seq_cst);
      times.push_back(to_seconds(now() - begin));
      return Status::success();
    };
    ASSIGN_OR_RETURN(const int rounds, agree_on_rounds(once));
    times.clear();
    for (int i = 0; i < rounds; ++i) RETURN_IF_ERROR(once());
    return median(times);
  }

  const DispatchBench& bench_;
  fabric::Bootstrap& bootstrap_;
  moe::PrepareFinalize& prepare_;
  const moe::Placement placement_;
  Buffer x_, hidden_, results_;
  Activations input_;
  std::vector<std::int32_t> ids_;
  std::vector<float> weights_;
};

void take_processor(int rank) {
  const auto cpus = cpu::allowed_cpus();
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpus[static_cast<std::size_t>(rank) % cpus.size()], &set);
  sched_setaffinity(0, sizeof set, &set);
}

// All cases of one backend on one rank.
Status measure_rank(const DispatchBench& bench, moe::All2All backend, const std::vector<int>& tokens,
                    fabric::Bootstrap& bootstrap, std::vector<Times>& times) {
  const bool crowded = static_cast<std::size_t>(bench.ranks) > cpu::allowed_cpus().size();
  take_processor(bootstrap.rank());
  const auto stream = cpu::make_stream({.threads = 1, .pin = false});
  ASSIGN_OR_RETURN(const auto combine, ops::select<ops::Combine>(cpu::kernels().combine, {bench.hidden}, stream->capabilities()));
  const auto transport = transport::shm::transport({.spin = crowded ? Duration::zero() : std::chrono::microseconds(50)});
  const int most = *std::max_element(tokens.begin(), tokens.end());
  moe::ExpertParallel experts;
  experts.bootstrap = &bootstrap;
  experts.transport = transport.get();
  experts.backend = backend;
  experts.buffer_tokens = bench.buffer_tokens > 0 ? bench.buffer_tokens : most;
  ASSIGN_OR_RETURN(experts.payload, moe::parse_payload(bench.payload));
  const moe::LayerShape shape{bench.experts, bench.top_k, false, bench.hidden, most,
                              bench.dtype == "float32" ? DType::kF32 : DType::kBF16};
  ASSIGN_OR_RETURN(const auto prepare, moe::make_prepare(shape, &experts, nullptr, combine.kernel, *stream));
  RankBench rank(bench, bootstrap, *prepare);
  for (const int count : tokens) {
    ASSIGN_OR_RETURN(const Times measured, rank.run(count));
    times.push_back(measured);
  }
  RETURN_IF_ERROR(bootstrap.all_gather("done"));
  return Status::success();
}

Result<std::vector<DispatchCase>> measure_backend(const DispatchBench& bench, const std::string& name,
                                                  const std::vector<int>& tokens) {
  ASSIGN_OR_RETURN(const moe::All2All backend, moe::parse_all2all(name));
  const auto ranks = static_cast<std::size_t>(bench.ranks);
  std::vector<std::vector<Times>> times(ranks);
  std::vector<Status> statuses(ranks);
  fabric::testing::run_ranks(bench.ranks, [&](fabric::Bootstrap& b) {
    const auto r = static_cast<std::size_t>(b.rank());
    statuses[r] = measure_rank(bench, backend, tokens, b, times[r]);
  });
  for (const Status& status : statuses) RETURN_IF_ERROR(status);
  std::vector<DispatchCase> cases;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    DispatchCase c{name, tokens[i]};
    for (const auto& rank : times) {
      c.dispatch = std::max(c.dispatch, rank[i].dispatch);
      c.combine = std::max(c.combine, rank[i].combine);
      c.copy_out = std::max(c.copy_out, rank[i].copy_out);
      c.copy_back = std::max(c.copy_back, rank[i].copy_back);
      c.dispatched_bytes += rank[i].dispatched_bytes / static_cast<double>(ranks);
      c.returned_bytes += rank[i].returned_bytes / static_cast<double>(ranks);
    }
    cases.push_back(c);
  }
  return cases;
}

void print(const DispatchCase& c) {
  std::printf("%-24s %6d %10.1f %10.1f %11.0f %11.0f %10.1f %10.1f %5.0f%% %5.0f%% %5.0f%%\n", c.backend.c_str(), c.tokens,
              1e6 * c.dispatch, 1e6 * c.combine, c.dispatched_bytes, c.returned_bytes, 1e6 * c.copy_out, 1e6 * c.copy_back,
              100 * c.copy_out / c.dispatch, 100 * c.copy_back / c.combine, 100 * c.copy() / c.seconds());
}

std::string json_line(const DispatchBench& bench, const DispatchCase& c) {
  const nlohmann::ordered_json line{
      {"backend", c.backend}, {"ranks", bench.ranks}, {"hidden", bench.hidden}, {"top_k", bench.top_k},
      {"experts", bench.experts}, {"dtype", bench.dtype}, {"payload", bench.payload}, {"results", bench.results}, {"tokens", c.tokens}, {"dispatch_s", c.dispatch},
      {"combine_s", c.combine}, {"dispatched_bytes", c.dispatched_bytes}, {"returned_bytes", c.returned_bytes},
      {"copy_out_s", c.copy_out}, {"copy_back_s", c.copy_back}, {"share", c.copy() / c.seconds()}};
  return line.dump() + "\n";
}

std::string title_of(const DispatchBench& bench) {
  return std::to_string(bench.ranks) + " ranks, hidden " + std::to_string(bench.hidden) + ", top-" + std::to_string(bench.top_k) +
         " of " + std::to_string(bench.experts) + ", " + bench.dtype + (bench.payload == "auto" ? "" : ", payload " + bench.payload);
}

Status run(const DispatchBench& bench) {
  if (bench.top_k > bench.experts) return invalid_argument("--top-k is larger than --experts", "top-k");
  ASSIGN_OR_RETURN(const auto tokens, number_list("tokens", bench.tokens));
  ASSIGN_OR_RETURN(OutputFile json, OutputFile::create(bench.json));
  ASSIGN_OR_RETURN(OutputFile svg, OutputFile::create(bench.svg));
  std::printf("%s; results %s; bytes are those a rank writes to others\n", title_of(bench).c_str(), bench.results.c_str());
  std::printf("%-24s %6s %10s %10s %11s %11s %10s %10s %20s\n", "", "", "dispatch", "combine", "bytes", "bytes", "copy", "copy", "share of copying");
  std::printf("%-24s %6s %10s %10s %11s %11s %10s %10s %6s %6s %6s\n", "backend", "tokens", "us", "us", "out", "back", "out us", "back us",
              "out", "back", "all");
  std::vector<DispatchCase> cases;
  std::istringstream names(bench.backends);
  for (std::string name; std::getline(names, name, ',');) {
    ASSIGN_OR_RETURN(const auto measured, measure_backend(bench, name, tokens));
    for (const auto& c : measured) {
      print(c);
      RETURN_IF_ERROR(json.write(json_line(bench, c)));
    }
    cases.insert(cases.end(), measured.begin(), measured.end());
  }
  return svg.write(dispatch_plot(cases, title_of(bench)));
}

}  // namespace

int bench_dispatch(Words words) {
  DispatchBench settings;
  auto options = parse_options();
  options.positional_fields = {};
  const auto parsed = config::parse(settings, words, options);
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts(config::help<DispatchBench>({"braid bench dispatch [flags]",
        "Brings tokens to experts on other ranks and their results home, beside the time of copying the same bytes once: "
        "time and bytes by backend and tokens.", ""}).c_str());
    return 0;
  }
  const Status status = run(settings);
  return status.ok() ? 0 : fail(status.error());
}

}  // namespace braid::app
