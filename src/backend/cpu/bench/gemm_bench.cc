// SPDX-License-Identifier: Apache-2.0
// gemm_bench [linear|mlp|mxfp4|prepare] [threads]: matrix kernels on the shapes of the default model, of
// DeepSeek-V2-Lite and of gpt-oss-20b (mxfp4), as shares of the peaks measured in the same run. Weights are cycled through
// 8 MiB (the default model's, in the third-level cache) or 512 MiB (in memory).
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "backend/cpu/backend.h"
#include "backend/cpu/machine/machine.h"
#include "backend/cpu/bench/weights_like.h"

namespace braid::cpu {
namespace {

using ops::WeightFormat;

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Seconds a call, best of batches of about 20 ms.
template <class F>
double time_of(F&& call) {
  double best = 1e9;
  int n = 1;
  for (int batch = 0; batch < 7; ++batch) {
    const double start = seconds();
    for (int i = 0; i < n; ++i) call();
    const double each = (seconds() - start) / n;
    best = std::min(best, each);
    n = std::max(1, static_cast<int>(0.02 / best));
  }
  return best;
}

struct Bench {
  Stream& stream;
  MachineLimits limits;

  void print(const char* op, const char* kernel, WeightFormat format, std::int64_t n, std::int64_t k,
             std::int64_t m, double flops, double bytes, bool cached, double s) const {
    const double peak = format == WeightFormat::kI8    ? limits.int8_gops.all
                        : format == WeightFormat::kF32 ? limits.f32_gflops.all
                                                       : limits.bf16_gflops.all;
    const double bandwidth = cached ? limits.l3_gb_s.all : limits.dram_gb_s.all;
    std::printf("%-7s %-11s %-8s %6ld x %-6ld M %-4ld %8.1f us %7.1f GF %3.0f %% %7.1f GB/s %3.0f %% of %s\n",
                op, kernel, ops::name_of(format), static_cast<long>(n), static_cast<long>(k),
                static_cast<long>(m), s * 1e6, flops / s * 1e-9, flops / s * 1e-7 / peak,
                bytes / s * 1e-9, bytes / s * 1e-7 / bandwidth, cached ? "L3" : "DRAM");
  }

  void linear(WeightFormat format, std::int64_t n, std::int64_t k, std::size_t cycle) const {
    const ops::Linear::Problem problem{DType::kBF16, format, n, k, 1};
    auto chosen = ops::select(kernels().linear, problem, stream.capabilities());
    const auto& kernel = *chosen.value().kernel;
    const WeightsLike source(format, n, k);
    std::vector<ops::PackedWeight> weights;
    for (std::size_t bytes = 0; bytes < cycle; bytes += weights.back().bytes()) {
      weights.push_back(kernel.prepare({&source.weight, 1}, problem, stream));
    }
    for (const std::int64_t m : {1, 2, 4, 8, 64, 512}) {
      Buffer x(static_cast<std::size_t>(m * k) * 2);
      Buffer y(static_cast<std::size_t>(m * n) * 4);
      std::size_t i = 0;
      const double s = time_of([&] {
        kernel.run({&weights[i++ % weights.size()], {x.data(), DType::kBF16, m, k, k},
                    {y.data(), DType::kF32, m, n, n}}, stream);
      });
      print("linear", kernel.name, format, n, k, m, 2.0 * static_cast<double>(m * n * k),
            static_cast<double>(weights[0].bytes()), cycle < (32u << 20), s);
    }
  }

  void mlp(WeightFormat format, std::int64_t hidden, std::int64_t inter, int experts, int top) const {
    const ops::GroupedMlp::Problem p{DType::kBF16, format, hidden, inter};
    const auto& kernel = *ops::select(kernels().grouped_mlp, p, stream.capabilities()).value().kernel;
    const WeightsLike up(format, inter, hidden), down(format, hidden, inter);
    std::vector<ops::PackedMlp> packed;
    double bytes = 0;
    for (int e = 0; e < experts; ++e) {
      packed.push_back(kernel.prepare(up.weight, up.weight, down.weight, p, stream));
    }
    for (const std::int64_t tokens : {1, 8, 64, 512}) {
      const std::int64_t rows = tokens * top;
      std::vector<const ops::PackedMlp*> groups;
      std::vector<std::int32_t> offsets{0};
      const std::int64_t used = std::min<std::int64_t>(rows, experts);
      bytes = 0;
      for (std::int64_t e = 0; e < used; ++e) {
        groups.push_back(&packed[static_cast<std::size_t>(e)]);
        offsets.push_back(static_cast<std::int32_t>(rows * (e + 1) / used));
        bytes += static_cast<double>(packed[0].bytes());
      }
      std::vector<std::int32_t> token;
      for (std::int64_t r = 0; r < rows; ++r) token.push_back(static_cast<std::int32_t>(r % tokens));
      Buffer x(static_cast<std::size_t>(tokens * hidden) * 2);
      Buffer y(static_cast<std::size_t>(rows * hidden) * 4);
      Buffer scratch(ops::GroupedMlp::scratch_bytes(rows, inter));
      const double s = time_of([&] {
        kernel.run({{x.data(), DType::kBF16, tokens, hidden, hidden}, groups, offsets.data(), token.data(),
                    {y.as<float>(), rows, hidden}, scratch.data()}, stream);
      });
      const bool cached = bytes < (16 << 20);
      print("mlp", kernel.name, format, inter, hidden, tokens,
            6.0 * static_cast<double>(rows * inter * hidden), bytes, cached, s);
    }
  }

  void prepare(WeightFormat format, std::int64_t n, std::int64_t k) const {
    const ops::Linear::Problem problem{DType::kBF16, format, n, k, 1};
    const auto& kernel = *ops::select(kernels().linear, problem, stream.capabilities()).value().kernel;
    const WeightsLike source(format, n, k);
    const double s = time_of([&] { (void)kernel.prepare({&source.weight, 1}, problem, stream); });
    std::printf("prepare %-8s %ld x %ld: %.2f GB/s\n", ops::name_of(format), static_cast<long>(n),
                static_cast<long>(k), static_cast<double>(source.weight.values.bytes()) / s * 1e-9);
  }
};

void run(const std::string& what, int threads) {
  auto stream = make_stream({.threads = threads});
  Bench bench{*stream, measure_machine(*stream, std::size_t{256} << 20)};
  const MachineLimits& l = bench.limits;
  std::printf("%d workers, %s: f32 %.0f/%.0f bf16 %.0f/%.0f GFLOP/s, int8 %.0f/%.0f GOP/s, DRAM %.1f/%.1f "
              "L3 %.0f/%.0f L2 %.0f/%.0f GB/s (one/all)\n", l.workers, l.arithmetic.c_str(),
              l.f32_gflops.one, l.f32_gflops.all, l.bf16_gflops.one, l.bf16_gflops.all, l.int8_gops.one,
              l.int8_gops.all, l.dram_gb_s.one, l.dram_gb_s.all, l.l3_gb_s.one, l.l3_gb_s.all,
              l.l2_gb_s.one, l.l2_gb_s.all);
  const auto wanted = [&](const char* name) { return what.empty() || what == name; };
  for (const WeightFormat format : {WeightFormat::kF8, WeightFormat::kBF16, WeightFormat::kI8}) {
    if (wanted("linear")) {
      bench.linear(format, 832, 256, 8 << 20);
      bench.linear(format, 1024, 512, 8 << 20);
      bench.linear(format, 1408, 2048, 256 << 20);
    }
    if (wanted("mlp")) {
      bench.mlp(format, 256, 128, 32, 4);
      bench.mlp(format, 2048, 1408, 64, 6);
    }
    if (wanted("prepare")) bench.prepare(format, 1408, 2048);
  }
  if (wanted("mxfp4")) {
    bench.mlp(WeightFormat::kF4, 2880, 2880, 32, 4);
    bench.prepare(WeightFormat::kF4, 2880, 2880);
  }
}

}  // namespace
}  // namespace braid::cpu

int main(int argc, char** argv) {
  braid::cpu::run(argc > 1 && std::strcmp(argv[1], "all") != 0 ? argv[1] : "",
                  argc > 2 ? std::atoi(argv[2]) : 0);
}
