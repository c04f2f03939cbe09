// SPDX-License-Identifier: Apache-2.0
// braid bench machine, braid bench engine.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "app/bench_speculation.h"
#include "app/commands.h"
#include "app/load.h"
#include "app/output_file.h"
#include "app/parse.h"
#include "backend/cpu/backend.h"
#include "backend/cpu/machine/machine.h"
#include "backend/cuda/backend.h"
#include "config/reference.h"
#include "engine/speculation/make.h"

namespace braid::app {
namespace {

struct EngineBench {
  ModelSettings model;
  std::string batch = "1,8,64";
  int prompt = 512;
  int prompts = 1;
  int context = 32;
  double seconds = 1.0;
  std::string json;
  engine::SpeculativeSettings speculation;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.group("Model", self.model);
    v.field("batch", self.batch, {.help = "Decode batch sizes, separated by commas"});
    v.field("prompt", self.prompt, {.help = "Tokens of a prompt", .unit = "tokens", .min = 1, .max = 1 << 20});
    v.field("prompts", self.prompts, {.help = "Prompts of a prefill, computed in one step", .min = 1, .max = 1024});
    v.field("context", self.context, {.help = "Tokens in the cache when decoding begins", .unit = "tokens", .min = 0});
    v.field("seconds", self.seconds, {.help = "Time spent on each case", .unit = "seconds", .min = 0.001, .max = 60});
    v.field("json", self.json, {.help = "File for one JSON line a case"});
    v.section("speculative-config", self.speculation, "Measures also decoding of chats with so many drafted tokens");
  }
};

// What a step must read and compute at least: weights touched, FLOP per token.
struct Work {
  double bytes_at(double batch) const {
    const double distinct = experts > 0 ? (batch <= 1 ? top_k : experts * (1 - std::pow(1 - top_k / experts, batch))) : 0;
    return base * bytes_per_weight + moe_layers * distinct * expert * bytes_per_expert_weight + head * 2;
  }
  double flops = 0;         // per token, without the head
  double head = 0;          // weights of the head
  double base = 0;          // weights touched by every step
  double moe_layers = 0, experts = 0, top_k = 0, expert = 0;
  double bytes_per_weight = 2, bytes_per_expert_weight = 2;
  double attention = 0;     // FLOP per token and key of one layer, expanded
};

// The formats of weights that a model's kernels multiply by.
struct Formats {
  bool fp8 = false;  // or int8
  bool mxfp4 = false;
};

// How many keys a token of a prompt sees, on average; the sum over all layers.
double keys_seen(const model::Config& c, double prompt) {
  double sum = 0;
  for (int layer = 0; layer < c.layers; ++layer) {
    const auto span = c.span_of(layer);
    const double most = std::min<double>(prompt, span == model::LayerSpan::kWindow ? c.sliding_window
                                                 : span == model::LayerSpan::kChunk ? c.attention_chunk : prompt);
    const double rising = (most + 1) / 2;
    sum += span == model::LayerSpan::kWindow ? (most * rising + (prompt - most) * most) / prompt : rising;
  }
  return sum;
}

Work work_of(const model::Config& c, Formats formats) {
  Work w;
  const double h = c.hidden, qk = c.nope_dim + c.rope_dim;
  double a = c.kv_lora > 0 ? (c.q_lora > 0 ? h * c.q_lora + c.q_lora * c.heads * qk : h * c.heads * qk) +
                                 h * (c.kv_lora + c.rope_dim) + c.kv_lora * c.heads * (c.nope_dim + c.v_dim) + c.heads * c.v_dim * h
                           : h * (c.heads + 2 * c.kv_heads) * c.head_dim + c.heads * c.head_dim * h;
  for (int layer = 0; layer < c.layers; ++layer) w.moe_layers += c.is_moe(layer);
  const double dense = c.layers - w.moe_layers;
  w.experts = c.moe.experts;
  w.top_k = c.moe.top_k;
  w.expert = 3 * h * c.moe.inter;
  w.base = c.layers * a + dense * 3 * h * c.inter + w.moe_layers * (3 * h * c.moe.shared_inter + h * w.experts);
  w.head = h * c.vocab_size;
  w.flops = 2 * (w.base + w.moe_layers * w.top_k * w.expert);
  w.bytes_per_weight = formats.fp8 ? 1 : 2;
  w.bytes_per_expert_weight = formats.mxfp4 ? 17.0 / 32 : w.bytes_per_weight;
  const double dims = c.kv_lora > 0 ? qk + c.v_dim : 2.0 * c.head_dim;
  w.attention = 2 * dims * c.heads;
  return w;
}

struct Case {
  std::string name;
  int batch = 0;
  double tokens_per_s = 0;
  double floor_tokens_per_s = 0;
};

struct Floor {
  double peak = 0;       // FLOP/s
  double bandwidth = 0;  // bytes/s
};

Floor cpu_floor(const EngineBench& bench, const LoadedModel& loaded) {
  const auto limits = cpu::measure_machine(static_cast<cpu::Stream&>(*loaded.stream));
  const bool int8 = bench.model.cpu_activations == "int8", f32 = bench.model.dtype == "float32";
  const bool cached = static_cast<double>(loaded.model->weight_bytes()) < 40e6;
  std::printf("machine: bf16 %.0f GFLOP/s, int8 %.0f GOP/s, DRAM %.1f GB/s, L3 %.1f GB/s, %d workers\n", limits.bf16_gflops.all,
              limits.int8_gops.all, limits.dram_gb_s.all, limits.l3_gb_s.all, limits.workers);
  std::printf("floor: %s bandwidth, %s peak\n", cached ? "L3" : "DRAM", f32 ? "float32" : int8 ? "int8" : "bf16");
  return {1e9 * (f32 ? limits.f32_gflops.all : int8 ? limits.int8_gops.all : limits.bf16_gflops.all),
          1e9 * (cached ? limits.l3_gb_s.all : limits.dram_gb_s.all)};
}

Floor gpu_floor(Stream& stream) {
  const auto peaks = cuda::measure_peaks(stream);
  std::printf("GPU: bf16 %.0f TFLOP/s, memory %.0f GB/s, %d multiprocessors\n", peaks.flops * 1e-12, peaks.bandwidth * 1e-9,
              stream.workers());
  return {peaks.flops, peaks.bandwidth};
}

class Runner {
 public:
  Runner(model::Model& model, const EngineBench& bench, int most)
      : model_(model), bench_(bench), cache_(model.cache_layout(), first_block(bench, std::max(most, bench.prompts)), kBlock) {
    for (int s = 0; s < std::max(most, bench.prompts); ++s) {
      tables_.emplace_back(static_cast<std::size_t>(first_block(bench, s + 1) - first_block(bench, s)));
      std::iota(tables_.back().begin(), tables_.back().end(), first_block(bench, s));
    }
  }

  Result<double> prefill() {
    return rate(bench_.prompts * bench_.prompt, [&] { return step_prefill(0, bench_.prompts, bench_.prompt); });
  }

  Result<double> decode(int batch) {
    for (int s = 0; s < batch; ++s) {
      if (bench_.context > 0) RETURN_IF_ERROR(step_prefill(s, 1, bench_.context));
    }
    return rate(batch, [&] { return step_decode(batch, bench_.context); });
  }

 private:
  static constexpr int kBlock = 16;

  static std::int32_t blocks_of(int tokens) { return (tokens + kBlock) / kBlock; }
  // Of sequence `s`: those that are prefilled have room for a prompt, all for their context and a token.
  static std::int32_t first_block(const EngineBench& bench, int s) {
    const int prefilled = std::min(s, bench.prompts);
    return prefilled * blocks_of(std::max(bench.prompt, bench.context + 1)) + (s - prefilled) * blocks_of(bench.context + 1);
  }
  std::int32_t slot(int s, int position) const {
    return tables_[static_cast<std::size_t>(s)][static_cast<std::size_t>(position / kBlock)] * kBlock + position % kBlock;
  }
  std::int32_t token(int s, int position) const {
    return static_cast<std::int32_t>((s * 7919 + position * 104729 + 13) % model_.config().vocab_size);
  }

  // `count` tokens of each of `sequences` from `first` on.
  Status step_prefill(int first, int sequences, int count) {
    batch_.clear();
    for (int s = first; s < first + sequences; ++s) {
      batch_.prefill.push_back({static_cast<std::int32_t>(batch_.tokens()), count, 0, tables_[static_cast<std::size_t>(s)].data()});
      for (int p = 0; p < count; ++p) {
        batch_.token_ids.push_back(token(s, p));
        batch_.positions.push_back(p);
        batch_.slots.push_back(slot(s, p));
      }
      batch_.logit_rows.push_back(static_cast<std::int32_t>(batch_.tokens()) - 1);
    }
    return compute();
  }

  Status step_decode(int batch, int position) {
    batch_.clear();
    for (int s = 0; s < batch; ++s) {
      batch_.token_ids.push_back(token(s, position));
      batch_.positions.push_back(position);
      batch_.slots.push_back(slot(s, position));
      batch_.decode.push_back({position, tables_[static_cast<std::size_t>(s)].data()});
      batch_.logit_rows.push_back(s);
    }
    return compute();
  }

  Status compute() {
    if (model_.chooses()) batch_.draws.assign(batch_.logit_rows.size(), {.by = ops::ChooseTokens::By::kLargest, .columns = model_.config().vocab_size});
    ASSIGN_OR_RETURN([[maybe_unused]] const auto logits, model_.forward(batch_, cache_));
    return {};
  }

  // Median over five windows of the wanted time in all.
  template <class Step>
  Result<double> rate(int tokens, Step step) {
    const SteadyClock clock;
    RETURN_IF_ERROR(step());
    std::vector<double> rates;
    for (int window = 0; window < 5; ++window) {
      const TimePoint begin = clock.now();
      double elapsed = 0;
      int steps = 0;
      do {
        RETURN_IF_ERROR(step());
        ++steps;
        elapsed = to_seconds(clock.now() - begin);
      } while (elapsed < bench_.seconds / 5);
      rates.push_back(steps * tokens / elapsed);
    }
    std::sort(rates.begin(), rates.end());
    return rates[2];
  }

  model::Model& model_;
  const EngineBench& bench_;
  kv::Cache cache_;
  std::vector<std::vector<std::int32_t>> tables_;
  model::Batch batch_;
};

Status run(const EngineBench& bench) {
  ASSIGN_OR_RETURN(const auto batches, number_list("batch", bench.batch));
  ASSIGN_OR_RETURN(OutputFile json, OutputFile::create(bench.json));
  const int most = batches.empty() ? 1 : *std::max_element(batches.begin(), batches.end());
  RETURN_IF_ERROR(engine::check_speculation(bench.speculation));
  model::Options options;
  options.max_model_len = std::max({bench.prompt, bench.context + 1, kChatTokens});
  options.max_sequences = most * (1 + bench.speculation.tokens());
  options.max_batched_tokens = std::max({bench.prompts * bench.prompt, options.max_sequences, bench.context, kChatTokens});
  options.draft_module = bench.speculation.uses_draft_module();
  ASSIGN_OR_RETURN(LoadedModel loaded, load_model(bench.model, options, true));
  Formats formats{.fp8 = bench.model.cpu_activations == "int8"};
  for (const auto& chosen : loaded.model->chosen_kernels()) {
    formats.fp8 |= chosen.problem.find("fp8") != std::string::npos;
    formats.mxfp4 |= chosen.problem.find("mxfp4") != std::string::npos;
  }
  const Work work = work_of(loaded.model->config(), formats);
  const Floor floor = loaded.stream->unified() ? cpu_floor(bench, loaded) : gpu_floor(*loaded.stream);
  std::printf("%-8s %6s %12s %12s %7s\n", "case", "batch", "tokens/s", "floor", "share");
  Runner runner(*loaded.model, bench, most);
  std::vector<Case> cases;
  const double prefill_flops = work.flops + work.attention * keys_seen(loaded.model->config(), bench.prompt);
  ASSIGN_OR_RETURN(const double prefill_rate, runner.prefill());
  cases.push_back({"prefill", bench.prompts * bench.prompt, prefill_rate, floor.peak / prefill_flops});
  for (const int batch : batches) {
    const double step = std::max(work.bytes_at(batch) / floor.bandwidth, batch * (work.flops + 2 * work.head) / floor.peak);
    ASSIGN_OR_RETURN(const double decode_rate, runner.decode(batch));
    cases.push_back({"decode", batch, decode_rate, batch / step});
  }
  std::ostringstream lines;
  for (const auto& c : cases) {
    std::printf("%-8s %6d %12.0f %12.0f %6.1f%%\n", c.name.c_str(), c.batch, c.tokens_per_s, c.floor_tokens_per_s,
                100 * c.tokens_per_s / c.floor_tokens_per_s);
    lines << "{\"case\":\"" << c.name << "\",\"batch\":" << c.batch << ",\"tokens_per_s\":" << c.tokens_per_s
          << ",\"floor_tokens_per_s\":" << c.floor_tokens_per_s << ",\"share\":" << c.tokens_per_s / c.floor_tokens_per_s << "}\n";
  }
  RETURN_IF_ERROR(json.write(lines.str()));
  if (!bench.speculation.enabled()) return {};
  return bench_speculation(loaded, bench.model, bench.speculation, batches, bench.seconds);
}

int bench_machine(Words words) {
  if (!words.empty()) {
    std::puts("usage: braid bench machine\n\nMeasures peaks and bandwidths of this machine, with one worker and with all.");
    return is_help(words[0]) ? 0 : 2;
  }
  const auto stream = cpu::make_stream({});
  const auto m = cpu::measure_machine(*stream);
  std::printf("%d workers, %s\n%-22s %10s %10s\n", m.workers, m.arithmetic.c_str(), "", "1 worker", "all");
  const auto line = [](const char* name, const cpu::Limit& l) { std::printf("%-22s %10.1f %10.1f\n", name, l.one, l.all); };
  line("float32 GFLOP/s", m.f32_gflops);
  line("bf16 GFLOP/s", m.bf16_gflops);
  line("int8 GOP/s", m.int8_gops);
  line("DRAM read GB/s", m.dram_gb_s);
  line("L3 read GB/s", m.l3_gb_s);
  line("L2 read GB/s", m.l2_gb_s);
  return 0;
}

int bench_engine(Words words) {
  EngineBench settings;
  const auto parsed = config::parse(settings, words, parse_options());
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts(config::help<EngineBench>({"braid bench engine MODEL [flags]",
        "Prefill and decode by batch size on the model alone, beside what this machine could do at most.", ""}).c_str());
    return 0;
  }
  if (settings.model.model.empty()) return fail(invalid_argument("bench engine needs a model folder: braid bench engine models/lexicon-30m"));
  const Status status = run(settings);
  return status.ok() ? 0 : fail(status.error());
}

constexpr Command kBenches[] = {
    {"machine", "peaks and bandwidths of this machine", bench_machine},
    {"engine", "tokens per second of a model by batch size, beside the machine's floor", bench_engine},
    {"serve", "latencies and throughput that clients of a server see", bench_serve},
    {"route", "ways of choosing an engine, compared on simulated engines", bench_route},
    {"router", "what requests and streams cost the router", bench_router},
    {"dispatch", "what bringing tokens to experts of other ranks costs, beside copying the same bytes", bench_dispatch},
    {"kv", "how fast blocks of a cache get from one process to another, beside copying them", bench_kv},
    {"autoscale", "ways to decide about scale under a trace, in simulated time", bench_autoscale},
    {"eplb", "how evenly recorded loads of experts lie on ranks, before and after balancing", bench_eplb},
};

}  // namespace

int bench(Words words) { return dispatch("braid bench", kBenches, words); }

}  // namespace braid::app
