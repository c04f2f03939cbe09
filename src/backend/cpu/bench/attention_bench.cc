// SPDX-License-Identifier: Apache-2.0
// attention_bench [THREADS]: GFLOP/s of every attention kernel that this machine can run, with the
// share of the best rate its tile product reaches on operands in the first-level cache. Causal
// pairs count once: 2 (qk_dim + v_dim) operations per query, visible key and head.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "backend/cpu/attention/prefill_tile.h"
#include "backend/cpu/simd/fixture.h"

namespace braid::cpu {
namespace {

// The best time of one call in seconds.
template <class F>
double best_time(F&& call) {
  using Clock = std::chrono::steady_clock;
  call();
  double best = 1e9;
  const auto stop = Clock::now() + std::chrono::milliseconds(300);
  do {
    const auto begin = Clock::now();
    call();
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    best = seconds < best ? seconds : best;
  } while (Clock::now() < stop);
  return best;
}

// GFLOP/s of 8 x 32 tiles, all workers.
double tile_rate(const PrefillTier& tier, Stream& stream) {
  constexpr int kDepth = 96;
  constexpr int kRepeat = 500;
  const double seconds = best_time([&] {
    stream.run([&](int, int) {
      alignas(64) static thread_local float a[kTileRows * kDepth], b[kPanel * kDepth],
          c[kTileRows * kPanel];
      for (int i = 0; i < kRepeat; ++i) {
        tier.multiply({a, kDepth, kTileRows, kDepth, b, c, kPanel, nullptr});
      }
    });
  });
  return 2e-9 * kTileRows * kPanel * kDepth * tier.pair * kRepeat * stream.workers() / seconds;
}

struct Rates {
  double f32 = 1;
  double bf16 = 1;
};

void report(const char* op,
            const char* kernel,
            const char* what,
            double flops,
            double seconds,
            const Rates& rates) {
  const bool bf16 = std::string(kernel) == "avx512bf16";
  const double rate = flops / seconds * 1e-9;
  std::printf("%-8s %-11s %-34s %9.1f us %8.1f GFLOP/s %5.1f %% of its tile rate\n",
              op,
              kernel,
              what,
              seconds * 1e6,
              rate,
              100 * rate / (bf16 ? rates.bf16 : rates.f32));
}

void prefill(Stream& stream,
             const char* what,
             const ops::AttentionShape& s,
             int length,
             int prompts,
             const Rates& rates) {
  const DType dtype = DType::kBF16;
  const std::int64_t rows = static_cast<std::int64_t>(length) * prompts;
  TestRows q(dtype, rows, s.heads * s.qk_dim), k(dtype, rows, s.kv_heads * s.qk_dim);
  TestRows v(dtype, rows, s.kv_heads * s.v_dim), out(dtype, rows, s.heads * s.v_dim);
  q.fill(1);
  k.fill(2);
  v.fill(3);
  std::vector<ops::AttentionPrefill::Sequence> sequences;
  for (int i = 0; i < prompts; ++i) {
    const std::int64_t first = static_cast<std::int64_t>(i) * length;
    sequences.push_back({first, length, 0, 0, length, nullptr, first});
  }
  ops::AttentionPrefill::Args a;
  a.shape = s;
  a.q = q.view;
  a.k = {k.view.data, dtype, k.view.stride, s.qk_dim};
  a.v = {v.view.data, dtype, v.view.stride, s.v_dim};
  a.sequences = sequences;
  a.out = out.view;
  const double flops = 1.0 * prompts * length * (length + 1) * s.heads * (s.qk_dim + s.v_dim);
  for (const auto* kernel :
       runnable(kernels().attention_prefill, {dtype, dtype, s}, stream.capabilities())) {
    if (kernel->rank < 20) continue;
    report("prefill", kernel->name, what, flops, best_time([&] { kernel->run(a, stream); }), rates);
  }
}

void decode(Stream& stream,
            const char* what,
            const ops::AttentionShape& s,
            int batch,
            int context,
            const Rates& rates) {
  const DType dtype = DType::kBF16;
  const bool absorbed = s.kv_heads == 1;
  const int width = absorbed ? s.qk_dim : s.kv_heads * (s.qk_dim + s.v_dim);
  const int blocks = (context + 15) / 16;
  TestRows cache(dtype, static_cast<std::int64_t>(batch) * blocks * 16, width);
  TestRows q(dtype, batch, s.heads * s.qk_dim), out(dtype, batch, s.heads * s.v_dim);
  cache.fill(1);
  q.fill(2);
  std::vector<std::int32_t> table(static_cast<std::size_t>(batch * blocks));
  std::iota(table.begin(), table.end(), 0);
  std::vector<ops::AttentionDecode::Row> rows;
  for (int i = 0; i < batch; ++i) rows.push_back({table.data() + i * blocks, context});
  Buffer scratch(ops::AttentionDecode::scratch_bytes(s, batch, context));
  const Activations values = cache.view.columns(absorbed ? 0 : s.kv_heads * s.qk_dim, 1);
  const ops::AttentionDecode::Args a{s,
                                     q.view,
                                     {cache.view.data, dtype, width, s.qk_dim},
                                     {values.data, dtype, width, s.v_dim},
                                     16,
                                     rows,
                                     out.view,
                                     scratch.data()};
  const double flops = 2.0 * batch * context * s.heads * (s.qk_dim + s.v_dim);
  for (const auto* kernel :
       runnable(kernels().attention_decode, {dtype, dtype, s}, stream.capabilities())) {
    if (kernel->rank < 20) continue;
    report("decode", kernel->name, what, flops, best_time([&] { kernel->run(a, stream); }), rates);
  }
}

void run(int threads) {
  const auto stream = make_stream({.threads = threads});
  Rates rates;
#if defined(__x86_64__)
  if (stream->capabilities().has("avx512bf16")) rates.bf16 = tile_rate(kAvx512Bf16Prefill, *stream);
  rates.f32 =
      tile_rate(stream->capabilities().has("avx512f") ? kAvx512Prefill : kAvx2Prefill, *stream);
#endif
  std::printf("%d workers; tile rate float32 %.0f, bfloat16 %.0f GFLOP/s\n",
              stream->workers(),
              rates.f32,
              rates.bf16);
  prefill(*stream, "4 heads 192/128, 512 tokens", {4, 4, 192, 128, 0.07f}, 512, 1, rates);
  prefill(*stream, "4 heads 192/128, 4 x 512 tokens", {4, 4, 192, 128, 0.07f}, 512, 4, rates);
  prefill(*stream, "16 heads 192/128, 2048 tokens", {16, 16, 192, 128, 0.07f}, 2048, 1, rates);
  prefill(*stream, "32/4 heads 128/128, 1024 tokens", {32, 4, 128, 128, 0.09f}, 1024, 1, rates);
  decode(*stream, "MLA 4 heads, B=1, 40 keys", {4, 1, 576, 512, 0.07f}, 1, 40, rates);
  decode(*stream, "MLA 4 heads, B=1, 200 keys", {4, 1, 576, 512, 0.07f}, 1, 200, rates);
  decode(*stream, "MLA 4 heads, B=8, 100 keys", {4, 1, 576, 512, 0.07f}, 8, 100, rates);
  decode(*stream, "MLA 4 heads, B=64, 100 keys", {4, 1, 576, 512, 0.07f}, 64, 100, rates);
  decode(*stream, "MLA 16 heads, B=1, 4096 keys", {16, 1, 576, 512, 0.07f}, 1, 4096, rates);
  decode(*stream, "GQA 32/4 heads 128, B=8, 1000 keys", {32, 4, 128, 128, 0.09f}, 8, 1000, rates);
}

}  // namespace
}  // namespace braid::cpu

int main(int argc, char** argv) {
  braid::cpu::run(argc > 1 ? std::atoi(argv[1]) : 0);
  return 0;
}
