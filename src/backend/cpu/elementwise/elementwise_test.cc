// SPDX-License-Identifier: Apache-2.0
// Every row-wise kernel that this machine can run, against the reference.
#include <gtest/gtest.h>

#include <cmath>

#include "backend/cpu/simd/fixture.h"
#include "ops/reference.h"

namespace braid::cpu {
namespace {

namespace reference = ops::reference;
const DType kTypes[] = {DType::kF32, DType::kBF16};

class ElementwiseTest : public ::testing::Test {
 protected:
  ElementwiseTest() : stream_(make_stream({.threads = 2})) {}
  Stream& stream() { return *stream_; }

  // Runs every kernel with `args`, whose results `out` holds, and compares with the reference.
  template <class Op>
  void check(std::span<const ops::Kernel<Op>> list,
             const ops::Kernel<Op>& slow,
             const typename Op::Problem& problem,
             const typename Op::Args& args,
             const std::vector<const TestRows*>& outs,
             float tolerance) {
    for (auto* out : outs) std::memset(out->buffer.data(), 0x3c, out->buffer.size());
    slow.run(args, stream());
    std::vector<std::vector<float>> expected;
    for (auto* out : outs) expected.push_back(out->values());
    const auto kernels = runnable(list, problem, stream().capabilities());
    ASSERT_FALSE(kernels.empty());
    for (const auto* kernel : kernels) {
      for (auto* out : outs) std::memset(out->buffer.data(), 0x3c, out->buffer.size());
      kernel->run(args, stream());
      for (std::size_t o = 0; o < outs.size(); ++o)
        compare(kernel->name, expected[o], *outs[o], tolerance);
    }
  }

  static void compare(const char* name,
                      const std::vector<float>& expected,
                      const TestRows& out,
                      float tolerance) {
    const auto got = out.values();
    const float rounding = out.view.dtype == DType::kBF16 ? 1.0f / 128 : 0;  // one step apart
    for (std::size_t i = 0; i < got.size(); ++i) {
      const float allowed = tolerance + std::fabs(expected[i]) * (tolerance + rounding);
      ASSERT_NEAR(got[i], expected[i], allowed) << name << " element " << i;
    }
  }

 private:
  std::unique_ptr<Stream> stream_;
};

TEST_F(ElementwiseTest, Embed) {
  for (DType dtype : kTypes) {
    for (int cols : {1, 7, 16, 33, 256}) {
      TestRows table(dtype, 11, cols);
      table.fill(1);
      const std::vector<std::int32_t> ids = {10, 0, 3, 3, 7};
      TestRows out(DType::kF32, 5, cols);
      check<ops::Embed>(kernels().embed,
                        reference::kEmbed,
                        {dtype},
                        {table.view.data, dtype, ids, out.f32()},
                        {&out},
                        0);
    }
  }
}

TEST_F(ElementwiseTest, RmsNorm) {
  for (DType dtype : kTypes) {
    for (int cols : {1, 5, 16, 31, 96, 257, 2048}) {
      for (int rows : {0, 1, 3, 200}) {
        TestRows x(DType::kF32, rows, cols, cols + 3), weight(DType::kF32, 1, cols);
        TestRows out(dtype, rows, cols), out2(DType::kF32, rows, cols);
        ops::RmsNorm::Args args{
            x.fill(2, 4).cf32(), weight.fill(3).buffer.as<float>(), 1e-6f, out.view, out2.f32()};
        check<ops::RmsNorm>(
            kernels().rms_norm, reference::kRmsNorm, {dtype, cols}, args, {&out, &out2}, 2e-6f);
      }
    }
  }
}

struct Rotation {
  TestRows cos, sin;
  std::vector<std::int32_t> positions, slots;
  int dim;
  explicit Rotation(int d, int tokens)
      : cos(DType::kF32, 50, std::max(d / 2, 1)), sin(DType::kF32, 50, std::max(d / 2, 1)), dim(d) {
    cos.fill(4);
    sin.fill(5);
    for (int t = 0; t < tokens; ++t) {
      positions.push_back((t * 7) % 50);
      slots.push_back(t % 4 == 2 ? -1 : (t * 3) % 31);
    }
  }
  ops::RopeTable table(bool interleaved) const {
    return {cos.buffer.as<float>(), sin.buffer.as<float>(), dim, interleaved};
  }
};

TEST_F(ElementwiseTest, MlaStoreAndQuery) {
  for (DType dtype : kTypes) {
    for (auto [lora, rope, nope] :
         {std::tuple{512, 64, 128}, {40, 24, 13}, {17, 2, 1}, {48, 36, 20}}) {
      for (bool interleaved : {true, false}) {
        const int tokens = 9;
        const int heads = 3;
        Rotation rotation(rope, tokens);
        TestRows latent(DType::kF32, tokens, lora + rope), norm(DType::kF32, 1, lora);
        TestRows cache(dtype, 31, lora + rope);
        check<ops::MlaStore>(kernels().mla_store,
                             reference::kMlaStore,
                             {dtype},
                             {latent.fill(6).cf32(),
                              norm.fill(7).buffer.as<float>(),
                              1e-6f,
                              rotation.table(interleaved),
                              rotation.positions.data(),
                              rotation.slots.data(),
                              cache.view},
                             {&cache},
                             2e-6f);
        TestRows q(DType::kF32, tokens, heads * (nope + rope));
        TestRows out(dtype, tokens, heads * (nope + rope));
        check<ops::MlaQuery>(kernels().mla_query,
                             reference::kMlaQuery,
                             {dtype},
                             {q.fill(8).cf32(),
                              heads,
                              nope,
                              rotation.table(interleaved),
                              rotation.positions.data(),
                              out.view,
                              nope + rope,
                              out.view.columns(nope, heads * (nope + rope) - nope),
                              nope + rope},
                             {&out},
                             2e-6f);
      }
    }
  }
}

TEST_F(ElementwiseTest, GqaPrepare) {
  for (DType dtype : kTypes) {
    for (auto [dim, rope] : {std::pair{128, 128}, {24, 24}, {40, 20}, {33, 6}, {48, 0}}) {
      for (bool norm : {true, false}) {
        const int tokens = 10;
        Rotation rotation(rope, tokens);
        TestRows qkv(DType::kF32, tokens, 8 * dim), qn(DType::kF32, 1, dim),
            kn(DType::kF32, 1, dim);
        TestRows q(dtype, tokens, 4 * dim), cache(dtype, 31, 4 * dim), scales(DType::kF32, 1, 50);
        qkv.fill(9);
        scales.fill(12);
        qn.fill(10);
        kn.fill(11);
        ops::GqaPrepare::Args args{qkv.cf32(),
                                   4,
                                   2,
                                   dim,
                                   norm ? qn.buffer.as<float>() : nullptr,
                                   norm ? kn.buffer.as<float>() : nullptr,
                                   1e-6f,
                                   rotation.table(false),
                                   rotation.positions.data(),
                                   rotation.slots.data(),
                                   q.view,
                                   cache.view,
                                   rope < dim ? scales.buffer.as<float>() : nullptr};
        check<ops::GqaPrepare>(kernels().gqa_prepare,
                               reference::kGqaPrepare,
                               {dtype, dtype},
                               args,
                               {&q, &cache},
                               4e-6f);
      }
    }
  }
}

// Rows of an FP8 cache that the kernels of a list wrote: with the reference's elements, or the next code's
// where what was rounded differed in its last bits. `exact`: byte for byte.
template <class Op>
void check_fp8(std::span<const ops::Kernel<Op>> list, const ops::Kernel<Op>& slow, const typename Op::Problem& problem,
               typename Op::Args args, const ops::Fp8Row& format, bool exact, Stream& stream) {
  const std::int64_t rows = 31, bytes = format.bytes();
  const auto written = [&](const ops::Kernel<Op>& kernel) {
    std::vector<std::uint8_t> memory(static_cast<std::size_t>(rows * bytes), 0x11);
    args.cache = {memory.data(), DType::kF8E4M3, rows, bytes, bytes};
    kernel.run(args, stream);
    return memory;
  };
  const auto expected = written(slow);
  for (const auto* kernel : runnable(list, problem, stream.capabilities())) {
    const auto got = written(*kernel);
    if (exact) {
      EXPECT_EQ(got, expected) << kernel->name;
      continue;
    }
    int different = 0;
    for (std::int64_t r = 0; r < rows; ++r) {
      for (int i = 0; i < format.elements + format.plain; ++i) {
        const float a = format.at(got.data() + r * bytes, i), b = format.at(expected.data() + r * bytes, i);
        EXPECT_NEAR(a, b, std::fabs(b) / 8 + 1e-3f) << kernel->name << " row " << r << " element " << i;
        different += a != b;
      }
    }
    EXPECT_LT(different, 1 + rows * format.elements / 200) << kernel->name;
  }
}

TEST_F(ElementwiseTest, Fp8RowsOfLatents) {
  for (auto [lora, rope] : {std::pair{512, 64}, {40, 24}, {130, 2}}) {
    const int tokens = 9;
    Rotation rotation(rope, tokens);
    TestRows latent(DType::kF32, tokens, lora + rope), norm(DType::kF32, 1, lora);
    const auto format = ops::Fp8Row::latent(lora, rope);
    check_fp8<ops::MlaStore>(kernels().mla_store, reference::kMlaStore, {DType::kF8E4M3},
                             {latent.fill(6).cf32(), norm.fill(7).buffer.as<float>(), 1e-6f, rotation.table(true),
                              rotation.positions.data(), rotation.slots.data(), {}},
                             format, false, stream());
    TestRows plain(DType::kF32, 20, lora + rope);
    plain.fill(8, 3);
    std::vector<std::uint8_t> cache(static_cast<std::size_t>(20 * format.bytes()));
    for (int r = 0; r < 20; ++r) format.put(cache.data() + r * format.bytes(), plain.f32().row(r));
    const std::vector<std::int32_t> rows = {19, 0, 7, 7, 3};
    for (DType dtype : kTypes) {
      TestRows to(dtype, 5, lora + rope), keys(dtype, 5, 3 * (rope + 4));
      check<ops::MlaGather>(kernels().mla_gather, reference::kMlaGather, {DType::kF8E4M3},
                            {{cache.data(), DType::kF8E4M3, 20, format.bytes(), format.bytes()}, rows.data(), to.view, keys.view, 3, rope + 4, rope},
                            {&to, &keys}, 0);
      for (int c = 0; c < lora; ++c) EXPECT_EQ(to.at(2, c), format.at(cache.data() + 7 * format.bytes(), c)) << "exactly";
    }
  }
}

TEST_F(ElementwiseTest, Fp8RowsOfKeysAndValues) {
  for (auto [dim, rope] : {std::pair{128, 128}, {40, 20}, {33, 0}}) {
    const int tokens = 10;
    Rotation rotation(rope, tokens);
    TestRows qkv(DType::kF32, tokens, 8 * dim), q(DType::kF32, tokens, 4 * dim), norm(DType::kF32, 1, dim);
    qkv.fill(9);
    for (int c = 4 * dim; rope == 0 && c < 8 * dim; ++c) {  // of every size, and beyond any
      qkv.set(0, c, std::ldexp(qkv.at(0, c), c % 70 - 40));
      qkv.set(1, c, c % 9 ? qkv.at(1, c) : c % 2 ? HUGE_VALF : std::nanf(""));
      qkv.set(3, c, 0);
      qkv.set(4, c, std::ldexp(qkv.at(4, c), -126));
      qkv.set(5, c, std::ldexp(qkv.at(5, c), 126));
    }
    check_fp8<ops::GqaPrepare>(kernels().gqa_prepare, reference::kGqaPrepare, {DType::kF32, DType::kF8E4M3},
                               {qkv.cf32(), 4, 2, dim, nullptr, rope ? norm.fill(3).buffer.as<float>() : nullptr, 1e-6f, rotation.table(false),
                                rotation.positions.data(), rotation.slots.data(), q.view, {}},
                               ops::Fp8Row::keys_and_values(2, dim), rope == 0, stream());
  }
}

struct RouteCase {
  ops::Route::Problem problem;
  bool bias;
};

const RouteCase kRouteCases[] = {
    {{.experts = 32,
      .top_k = 4,
      .groups = 4,
      .topk_groups = 2,
      .scoring = ops::Scoring::kSigmoid,
      .group_score = ops::GroupScore::kSumOfTopTwo,
      .normalise = true,
      .scale = 2.5f},
     true},
    {{.experts = 256,
      .top_k = 8,
      .groups = 8,
      .topk_groups = 4,
      .scoring = ops::Scoring::kSigmoid,
      .group_score = ops::GroupScore::kSumOfTopTwo,
      .normalise = true,
      .scale = 2.5f},
     true},
    {{.experts = 384, .top_k = 8, .scoring = ops::Scoring::kSigmoid, .normalise = true}, true},
    {{.experts = 64, .top_k = 6}, false},
    {{.experts = 60, .top_k = 4, .shared_gate = true}, false},
    {{.experts = 12, .top_k = 3, .groups = 3, .topk_groups = 1}, false},
    {{.experts = 1, .top_k = 1, .normalise = true}, false},
    {{.experts = 21, .top_k = 21, .scale = 16}, false},
};

TEST_F(ElementwiseTest, Route) {
  for (const auto& [problem, biased] : kRouteCases) {
    const int tokens = 150;
    TestRows logits(DType::kF32, tokens, problem.logits()), bias(DType::kF32, 1, problem.experts);
    logits.fill(12, 6);
    bias.fill(13, 0.1f);
    for (int e = 1; e < problem.experts; e += 2) logits.set(3, e, logits.at(3, e - 1));  // ties
    const auto n = static_cast<std::size_t>(tokens * problem.top_k);
    std::vector<std::int32_t> ids(n), expected_ids(n);
    TestRows weights(DType::kF32, tokens, problem.top_k), shared(DType::kF32, 1, tokens);
    ops::Route::Args args{&problem,
                          logits.cf32(),
                          biased ? bias.buffer.as<float>() : nullptr,
                          expected_ids.data(),
                          weights.buffer.as<float>(),
                          shared.buffer.as<float>()};
    reference::kRoute.run(args, stream());
    const auto expected = weights.values(), expected_shared = shared.values();
    args.ids = ids.data();
    for (const auto* kernel : runnable(kernels().route, problem, stream().capabilities())) {
      kernel->run(args, stream());
      EXPECT_EQ(ids, expected_ids) << kernel->name << " experts " << problem.experts;
      compare(kernel->name, expected, weights, 2e-6f);
      compare(kernel->name, expected_shared, shared, 2e-6f);
    }
  }
}

TEST_F(ElementwiseTest, RouteSaturatesWithoutOverflow) {
  const ops::Route::Problem problem{.experts = 3, .top_k = 2, .scoring = ops::Scoring::kSigmoid};
  std::vector<float> logits = {200, -200, -300};
  for (const auto* kernel : runnable(kernels().route, problem, stream().capabilities())) {
    std::int32_t ids[2];
    float weights[2];
    kernel->run({&problem, {logits.data(), 1, 3}, nullptr, ids, weights}, stream());
    EXPECT_EQ(ids[0], 0);
    EXPECT_FLOAT_EQ(weights[0], 1);
    EXPECT_NEAR(weights[1], 0, 1e-37);
  }
}

TEST_F(ElementwiseTest, Combine) {
  for (int cols : {1, 15, 16, 96, 256}) {
    for (int tokens : {0, 1, 90}) {
      TestRows rows(DType::kF32, 40, cols, cols + 5), weights(DType::kF32, tokens, 6);
      TestRows out(DType::kF32, tokens, cols);
      std::vector<std::int32_t> slots;
      for (int i = 0; i < tokens * 6; ++i) slots.push_back((i * 11) % 40);
      check<ops::Combine>(
          kernels().combine,
          reference::kCombine,
          {cols},
          {rows.fill(14).cf32(), slots.data(), weights.fill(15).buffer.as<float>(), 6, out.f32()},
          {&out},
          1e-6f);
    }
  }
}

TEST_F(ElementwiseTest, CombineOfUnequalCountsIntoChosenRowsOfEitherType) {
  const std::vector<std::int32_t> starts = {0, 2, 2, 5}, to = {6, 0, 3}, slots = {3, 1, 0, 0, 7};
  for (const DType in : {DType::kF32, DType::kBF16}) {
    for (const DType result : {DType::kF32, DType::kBF16}) {
      for (int cols : {1, 33, 96, 150}) {
        for (bool accumulate : {true, false}) {
          TestRows rows(in, 8, cols), weights(DType::kF32, 1, 5), out(result, 7, cols);
          check<ops::Combine>(kernels().combine,
                              reference::kCombine,
                              {cols},
                              {.rows = rows.fill(16).view,
                               .slots = slots.data(),
                               .weights = weights.fill(17).buffer.as<float>(),
                               .out = out.fill(18).view,
                               .starts = starts.data(),
                               .out_rows = to.data(),
                               .count = 3,
                               .accumulate = accumulate},
                              {&out},
                              result == DType::kBF16 ? 1e-2f : 1e-6f);
        }
      }
    }
  }
}

}  // namespace
}  // namespace braid::cpu
