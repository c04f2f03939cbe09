// SPDX-License-Identifier: Apache-2.0
// attention_bench [THREADS]: attention kernels of this machine in GFLOP/s and as a share of the
// peak measured in the same run (bfloat16 for avx512bf16, float32 for the others), then the
// row-wise operations on the default model's shapes. Causal pairs count once: 2 (qk_dim + v_dim)
// operations per query, visible key and head.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "backend/cpu/machine/machine.h"
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
  std::printf("%-8s %-11s %-34s %9.1f us %8.1f GFLOP/s %5.1f %% of peak\n",
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
            const Rates& rates,
            DType cached = DType::kBF16) {
  const DType dtype = DType::kBF16;
  const bool absorbed = s.kv_heads == 1, fp8 = cached == DType::kF8E4M3;
  const int elements = absorbed ? s.qk_dim : s.kv_heads * (s.qk_dim + s.v_dim);
  const auto format = absorbed ? ops::Fp8Row::latent(s.v_dim, s.qk_dim - s.v_dim) : ops::Fp8Row::keys_and_values(s.kv_heads, s.qk_dim);
  const std::int64_t width = fp8 ? format.bytes() : elements;
  const int blocks = (context + 15) / 16;
  TestRows cache(cached, static_cast<std::int64_t>(batch) * blocks * 16, width);
  TestRows q(dtype, batch, s.heads * s.qk_dim), out(dtype, batch, s.heads * s.v_dim);
  if (fp8) {
    TestRows plain(DType::kF32, 1, elements);
    plain.fill(1);
    for (std::int64_t r = 0; r < cache.view.rows; ++r) {
      if (r == 0) format.put(cache.view.row(0), plain.f32().row(0));
      else std::memcpy(cache.view.row(r), cache.view.row(0), static_cast<std::size_t>(width));
    }
  } else {
    cache.fill(1);
  }
  q.fill(2);
  std::vector<std::int32_t> table(static_cast<std::size_t>(batch * blocks));
  std::iota(table.begin(), table.end(), 0);
  std::vector<ops::AttentionDecode::Row> rows;
  for (int i = 0; i < batch; ++i) rows.push_back({table.data() + i * blocks, context});
  Buffer scratch(ops::AttentionDecode::scratch_bytes(s, batch, context));
  const std::int64_t first = absorbed ? 0 : s.kv_heads * s.qk_dim;
  const void* values = fp8 ? cache.view.data : cache.view.columns(first, 1).data;
  const ops::AttentionDecode::Args a{s,
                                     q.view,
                                     {cache.view.data, cached, width, s.qk_dim, format},
                                     {values, cached, width, s.v_dim, format, fp8 ? first : 0},
                                     16,
                                     rows,
                                     out.view,
                                     scratch.data()};
  const double flops = 2.0 * batch * context * s.heads * (s.qk_dim + s.v_dim);
  for (const auto* kernel :
       runnable(kernels().attention_decode, {dtype, cached, s}, stream.capabilities())) {
    if (kernel->rank < 20) continue;
    report(fp8 ? "dec fp8" : "decode", kernel->name, what, flops, best_time([&] { kernel->run(a, stream); }), rates);
  }
}

// Best kernels on `tokens` rows of the default model: hidden 256, 32 experts, 4 of them chosen.
void rows(Stream& stream, int tokens) {
  const auto caps = stream.capabilities();
  TestRows x(DType::kF32, tokens, 256), weight(DType::kF32, 1, 256), out(DType::kBF16, tokens, 256);
  TestRows out2(DType::kF32, tokens, 256), logits(DType::kF32, tokens, 32);
  TestRows experts(DType::kF32, tokens * 4, 256);
  x.fill(1);
  weight.fill(2);
  logits.fill(3);
  experts.fill(4);
  const auto* norm =
      ops::select<ops::RmsNorm>(kernels().rms_norm, {DType::kBF16, 256}, caps)->kernel;
  const double norm_time = best_time([&] {
    norm->run({x.cf32(), weight.buffer.as<float>(), 1e-6f, out.view, out2.f32()}, stream);
  });
  const ops::Route::Problem problem{.experts = 32,
                                    .top_k = 4,
                                    .groups = 4,
                                    .topk_groups = 2,
                                    .scoring = ops::Scoring::kSigmoid,
                                    .group_score = ops::GroupScore::kSumOfTopTwo,
                                    .normalise = true};
  std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens) * 4), slots(ids.size());
  std::vector<float> weights(ids.size());
  std::iota(slots.begin(), slots.end(), 0);
  const auto* route = ops::select<ops::Route>(kernels().route, problem, caps)->kernel;
  const double route_time = best_time([&] {
    route->run({&problem, logits.cf32(), weight.buffer.as<float>(), ids.data(), weights.data()},
               stream);
  });
  const auto* combine = ops::select<ops::Combine>(kernels().combine, {256}, caps)->kernel;
  const double combine_time = best_time([&] {
    combine->run({experts.cf32(), slots.data(), weights.data(), 4, out2.f32()}, stream);
  });
  std::printf("%4d rows: rms_norm %.2f us, route %.2f us, combine %.2f us\n",
              tokens,
              norm_time * 1e6,
              route_time * 1e6,
              combine_time * 1e6);
}

void run(int threads) {
  const auto stream = make_stream({.threads = threads});
  const MachineLimits limits = measure_machine(*stream, std::size_t{1} << 26);
  const Rates rates{limits.f32_gflops.all, limits.bf16_gflops.all};
  std::printf("%d workers; peak float32 %.0f, bfloat16 %.0f GFLOP/s\n",
              stream->workers(),
              rates.f32,
              rates.bf16);
  prefill(*stream, "4 heads 192/128, 512 tokens", {4, 4, 192, 128, 0.07f}, 512, 1, rates);
  prefill(*stream, "4 heads 192/128, 4 x 512 tokens", {4, 4, 192, 128, 0.07f}, 512, 4, rates);
  prefill(*stream, "16 heads 192/128, 2048 tokens", {16, 16, 192, 128, 0.07f}, 2048, 1, rates);
  prefill(*stream, "32/4 heads 128/128, 1024 tokens", {32, 4, 128, 128, 0.09f}, 1024, 1, rates);
  for (const DType cached : {DType::kBF16, DType::kF8E4M3}) {
    decode(*stream, "MLA 16 heads, B=32, 4096 keys", {16, 1, 576, 512, 0.07f}, 32, 4096, rates, cached);
    decode(*stream, "MLA 128 heads, B=8, 4096 keys", {128, 1, 576, 512, 0.07f}, 8, 4096, rates, cached);
    decode(*stream, "GQA 32/4 heads 128, B=32, 4000 keys", {32, 4, 128, 128, 0.09f}, 32, 4000, rates, cached);
    decode(*stream, "GQA 32/8 heads 128, B=32, 4000 keys", {32, 8, 128, 128, 0.09f}, 32, 4000, rates, cached);
  }
  decode(*stream, "MLA 4 heads, B=1, 40 keys", {4, 1, 576, 512, 0.07f}, 1, 40, rates);
  decode(*stream, "MLA 4 heads, B=1, 200 keys", {4, 1, 576, 512, 0.07f}, 1, 200, rates);
  decode(*stream, "MLA 4 heads, B=8, 100 keys", {4, 1, 576, 512, 0.07f}, 8, 100, rates);
  decode(*stream, "MLA 4 heads, B=64, 100 keys", {4, 1, 576, 512, 0.07f}, 64, 100, rates);
  decode(*stream, "MLA 16 heads, B=1, 4096 keys", {16, 1, 576, 512, 0.07f}, 1, 4096, rates);
  decode(*stream, "GQA 32/4 heads 128, B=8, 1000 keys", {32, 4, 128, 128, 0.09f}, 8, 1000, rates);
  for (int tokens : {1, 8, 64, 512}) rows(*stream, tokens);
}

}  // namespace
}  // namespace braid::cpu

int main(int argc, char** argv) {
  braid::cpu::run(argc > 1 ? std::atoi(argv[1]) : 0);
  return 0;
}
