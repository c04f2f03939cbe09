// SPDX-License-Identifier: Apache-2.0
// Every matrix kernel that this machine can run, against the slow reference, on ragged, empty and
// odd shapes; and bit for bit against itself in other batches and with other workers.
//
// Tolerance: float32 sums of k products differ by their order, at most k * 2^-24 of the sum of
// magnitudes (and far less in practice); bfloat16 inputs or activations add 2^-8 of a value.
#include "backend/cpu/gemm/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "backend/cpu/backend.h"
#include "backend/cpu/simd/fixture.h"
#include "ops/reference.h"

namespace braid::cpu {
namespace {

using ops::Weight;
using ops::WeightFormat;

// An owned weight of any stored type, with scales for e4m3 and e2m1.
struct Stored {
  Buffer values;
  std::vector<float> scales;
  std::vector<std::uint8_t> exponents;
  Weight weight;

  Stored(DType dtype, std::int64_t rows, std::int64_t cols, unsigned seed, bool scaled = true)
      : values(bytes_of(dtype, rows * cols) + 1) {
    std::mt19937 engine(seed);
    const auto draw = [&] { return static_cast<float>(engine() >> 8) / float{1 << 24} * 2 - 1; };
    for (std::int64_t i = 0; i < rows * cols; ++i) {
      const float v = draw();
      if (dtype == DType::kF32) values.as<float>()[i] = v;
      if (dtype == DType::kBF16) values.as<std::uint16_t>()[i] = f32_to_bf16(v);
      if (dtype == DType::kF8E4M3) values.as<std::uint8_t>()[i] = f32_to_f8e4m3(v * (i % 7 ? 3 : 0.02f));
      if (dtype == DType::kF4E2M1 && i % 2 == 0) values.as<std::uint8_t>()[i / 2] = static_cast<std::uint8_t>(engine() >> 8);
    }
    TensorView view{values.data(), dtype, {rows, cols}};
    TensorView scale_view;
    if (dtype == DType::kF4E2M1) {
      for (std::int64_t i = 0; i < rows * (cols / 32); ++i) exponents.push_back(static_cast<std::uint8_t>(121 + engine() % 7));
      scale_view = {exponents.data(), DType::kE8M0, {rows, cols / 32}};
      weight = Weight(view, scale_view, 32);
      return;
    }
    if (dtype == DType::kF8E4M3 && scaled) {
      const std::int64_t r = (rows + 127) / 128, c = (cols + 127) / 128;
      for (std::int64_t i = 0; i < r * c; ++i) scales.push_back(std::exp2(draw() * 4));
      scale_view = {scales.data(), DType::kF32, {r, c}};
    }
    weight = Weight(view, scale_view);
  }
};

DType stored_as(WeightFormat format) {
  return format == WeightFormat::kF32 ? DType::kF32
         : format == WeightFormat::kBF16 ? DType::kBF16
         : format == WeightFormat::kF4 ? DType::kF4E2M1 : DType::kF8E4M3;
}

constexpr WeightFormat kFormats[] = {WeightFormat::kF32, WeightFormat::kBF16, WeightFormat::kF8, WeightFormat::kI8, WeightFormat::kF4};

struct Case {
  WeightFormat format;
  std::int64_t n, k;
  bool transposed;
};

const Case kCases[] = {
    {WeightFormat::kF32, 1, 1, false},      {WeightFormat::kF32, 33, 5, false},
    {WeightFormat::kF32, 64, 256, false},   {WeightFormat::kF32, 100, 129, true},
    {WeightFormat::kBF16, 1, 1, false},     {WeightFormat::kBF16, 33, 7, false},
    {WeightFormat::kBF16, 256, 256, false}, {WeightFormat::kBF16, 70, 130, true},
    {WeightFormat::kF8, 1, 1, false},       {WeightFormat::kF8, 31, 3, false},
    {WeightFormat::kF8, 160, 384, false},   {WeightFormat::kF8, 257, 200, false},
    {WeightFormat::kF8, 130, 257, true},
    {WeightFormat::kI8, 40, 40, false},     {WeightFormat::kI8, 160, 384, false},
    {WeightFormat::kI8, 65, 257, true},
    {WeightFormat::kF4, 1, 32, false},      {WeightFormat::kF4, 33, 64, false},
    {WeightFormat::kF4, 160, 384, false},   {WeightFormat::kF4, 257, 224, false},
    {WeightFormat::kF4, 64, 70, true},
};

// Half of the largest error that the formats allow for a sum of `k` terms of about `size`.
double tolerance(WeightFormat format, std::int64_t k, double size, bool y_bf16) {
  const double sum = size * static_cast<double>(k) * 0x1p-22 + 1e-6;
  const double input = format == WeightFormat::kF32 ? 0 : size * std::sqrt(static_cast<double>(k)) * 0x1p-7;
  return sum + input + (y_bf16 ? size * std::sqrt(static_cast<double>(k)) * 0x1p-6 : 0);
}

void expect_near(const std::vector<float>& got, const std::vector<float>& want, double limit,
                 const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  double worst = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    worst = std::max(worst, std::isfinite(got[i]) ? std::fabs(double{got[i]} - want[i]) : 1e30);
  }
  EXPECT_LE(worst, limit) << what;
}

double magnitude(const Stored& w) {
  double sum = 0;
  for (std::int64_t i = 0; i < w.weight.rows; ++i) {
    for (std::int64_t k = 0; k < w.weight.cols; ++k) sum = std::max<double>(sum, std::fabs(w.weight.at(i, k)));
  }
  return sum;
}

TEST(MatrixKernels, EveryFormatOfTheEmulatedTierIsTriedElseScalar) {
  for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kF8, WeightFormat::kI8, WeightFormat::kF4}) {
    const std::size_t expected = kEmulated || format != WeightFormat::kI8 ? 1 : 0;
    const Capabilities none{"cpu", {}};
    const auto linear = runnable(kernels().linear, {DType::kBF16, format, 64, 64, 1}, none);
    const auto mlp = runnable(kernels().grouped_mlp, {DType::kBF16, format, 64, 64}, none);
    ASSERT_EQ(linear.size(), expected);
    ASSERT_EQ(mlp.size(), expected);
    const std::string name = kEmulated ? kEmulated->name : "scalar";
    for (const auto* kernel : linear) EXPECT_EQ(kernel->name, name);
    for (const auto* kernel : mlp) EXPECT_EQ(kernel->name, name);
  }
}

TEST(LinearKernels, AgreeWithTheReference) {
  auto stream = make_stream({.threads = 2});
  for (const Case& c : kCases) {
    for (const DType xt : {DType::kBF16, DType::kF32}) {
      const ops::Linear::Problem problem{xt, c.format, c.n, c.k, 1};
      const Stored w(stored_as(c.format), c.transposed ? c.k : c.n, c.transposed ? c.n : c.k, 7);
      const Weight window = c.transposed ? w.weight.transpose() : w.weight;
      const auto want_w = ops::reference::kLinear.prepare({&window, 1}, problem, *stream);
      const double size = magnitude(w);
      for (const auto* kernel : runnable(kernels().linear, problem, stream->capabilities())) {
        const auto packed = kernel->prepare({&window, 1}, problem, *stream);
        for (const std::int64_t m : {0, 1, 2, 3, 4, 5, 7, 8, 9, 70}) {
          for (const DType yt : {DType::kF32, DType::kBF16}) {
            TestRows x(xt, m, c.k, c.k + 3);
            x.fill(11);
            TestRows want(yt, m, c.n, c.n + 2), got(yt, m, c.n, c.n + 2);
            ops::Linear::Args args{&want_w, x.view, want.view};
            ops::reference::kLinear.run(args, *stream);
            args.weight = &packed;
            args.y = got.view;
            kernel->run(args, *stream);
            expect_near(got.values(), want.values(), tolerance(c.format, c.k, size, yt == DType::kBF16),
                        std::string(kernel->name) + " " + name_of(c.format) + " m" + std::to_string(m) +
                            " n" + std::to_string(c.n) + " k" + std::to_string(c.k));
          }
        }
      }
    }
  }
}

TEST(LinearKernels, StackPartsBatchesAndWindowsAnywhere) {
  auto stream = make_stream({.threads = 2});
  for (const WeightFormat format : {WeightFormat::kF32, WeightFormat::kBF16, WeightFormat::kF8}) {
    const Stored a(stored_as(format), 300, 300, 1), b(stored_as(format), 300, 300, 2);
    // Two batch entries of two parts; inputs [40, 170) straddle a scale block, [41, 171) oddly.
    for (const std::int64_t k0 : {0, 40, 41}) {
      const Weight parts[] = {a.weight.window(5, 20, k0, 130), b.weight.window(100, 47, k0, 130),
                              b.weight.window(64, 20, k0, 130), a.weight.window(128, 47, k0, 130)};
      const ops::Linear::Problem problem{DType::kF32, format, 67, 130, 2, false, true};
      std::vector<float> bias(134);
      for (std::size_t n = 0; n < bias.size(); ++n) bias[n] = static_cast<float>(n % 7) - 3;
      const auto want_w = ops::reference::kLinear.prepare(std::span<const Weight>(parts), problem, *stream);
      for (const auto* kernel : runnable(kernels().linear, problem, stream->capabilities())) {
        const auto packed = kernel->prepare(std::span<const Weight>(parts), problem, *stream);
        for (const std::int64_t m : {6, 22}) {
          TestRows x(DType::kF32, m, 260), want(DType::kF32, m, 134), got(DType::kF32, m, 134);
          x.fill(3);
          for (const bool accumulate : {false, true}) {
            ops::Linear::Args args{&want_w, x.view, want.view, 130, 67, accumulate, bias.data()};
            ops::reference::kLinear.run(args, *stream);
            args.weight = &packed;
            args.y = got.view;
            kernel->run(args, *stream);
            expect_near(got.values(), want.values(), 2 * tolerance(format, 130, magnitude(a), false),
                        std::string(kernel->name) + " " + name_of(format) + " k0 " + std::to_string(k0) +
                            " m" + std::to_string(m));
          }
        }
      }
    }
  }
}

TEST(LinearKernels, EveryE4m3CodeIsTakenForExactlyItsValue) {
  auto stream = make_stream({.threads = 1});
  const std::int64_t n = 32, k = 256;
  Stored w(DType::kF8E4M3, n, k, 5);
  w.scales[0] = 2;
  w.scales[1] = 0.25f;
  for (std::int64_t o = 0; o < n; ++o) {
    for (std::int64_t i = 0; i < k; ++i) {
      const auto code = static_cast<std::uint8_t>(i ^ o * 8);
      w.values.as<std::uint8_t>()[o * k + i] = code % 128 == 127 ? code - 1 : code;
    }
  }
  const ops::Linear::Problem problem{DType::kBF16, WeightFormat::kF8, n, k, 1};
  TestRows ones(DType::kBF16, k, k);
  for (std::int64_t i = 0; i < k; ++i) ones.set(i, i, 1);
  for (const auto* kernel : runnable(kernels().linear, problem, stream->capabilities())) {
    const auto packed = kernel->prepare({&w.weight, 1}, problem, *stream);
    for (const std::int64_t m : {std::int64_t{1}, std::int64_t{2}, std::int64_t{4}, k}) {
      for (std::int64_t first = 0; first < k; first += m) {
        TestRows got(DType::kF32, m, n);
        kernel->run({&packed, ones.view.slice_rows(first, m), got.view}, *stream);
        for (std::int64_t r = 0; r < m; ++r) {
          for (std::int64_t o = 0; o < n; ++o) {
            ASSERT_EQ(got.at(r, o), w.weight.at(o, first + r)) << kernel->name << " output " << o << " input " << first + r;
          }
        }
      }
    }
  }
}

TEST(LinearKernels, AZeroScaleMakesZeros) {
  auto stream = make_stream({.threads = 1});
  Stored w(DType::kF8E4M3, 256, 384, 5);
  w.scales[1] = 0;
  w.scales[3] = w.scales[4] = w.scales[5] = 0;
  const ops::Linear::Problem problem{DType::kBF16, WeightFormat::kF8, 256, 384, 1};
  const auto want_w = ops::reference::kLinear.prepare({&w.weight, 1}, problem, *stream);
  for (const auto* kernel : runnable(kernels().linear, problem, stream->capabilities())) {
    const auto packed = kernel->prepare({&w.weight, 1}, problem, *stream);
    TestRows x(DType::kBF16, 3, 384), want(DType::kF32, 3, 256), got(DType::kF32, 3, 256);
    x.fill(1);
    ops::Linear::Args args{&want_w, x.view, want.view};
    ops::reference::kLinear.run(args, *stream);
    args.weight = &packed;
    args.y = got.view;
    kernel->run(args, *stream);
    expect_near(got.values(), want.values(), tolerance(WeightFormat::kF8, 384, magnitude(w), false),
                kernel->name);
    EXPECT_EQ(got.at(2, 200), 0);
  }
}

// What a block without values has for a scale does not matter; one with values and a scale that no
// sum of others could stand beside is held as bfloat16.
TEST(LinearKernels, Mxfp4BlocksOfZerosMayHaveAnyScale) {
  auto stream = make_stream({.threads = 1});
  for (const bool zeros : {true, false}) {
    Stored w(DType::kF4E2M1, 64, 96, 5);
    for (const std::int64_t block : {0, 4, 5}) {
      w.exponents[static_cast<std::size_t>(block)] = block == 5 ? 187 : 20;
      for (std::int64_t i = 0; i < 16 && zeros; ++i) w.values.as<std::uint8_t>()[block * 16 + i] = i % 2 ? 0x80 : 0x08;
    }
    const ops::Linear::Problem problem{DType::kBF16, WeightFormat::kF4, 64, 96, 1};
    const auto want_w = ops::reference::kLinear.prepare({&w.weight, 1}, problem, *stream);
    for (const auto* kernel : runnable(kernels().linear, problem, stream->capabilities())) {
      const auto packed = kernel->prepare({&w.weight, 1}, problem, *stream);
      EXPECT_EQ(packed.format, zeros ? WeightFormat::kF4 : WeightFormat::kBF16);
      TestRows x(DType::kBF16, 3, 96), want(DType::kF32, 3, 64), got(DType::kF32, 3, 64);
      x.fill(1);
      ops::Linear::Args args{&want_w, x.view, want.view};
      ops::reference::kLinear.run(args, *stream);
      args.weight = &packed;
      args.y = got.view;
      kernel->run(args, *stream);
      expect_near(got.values(), want.values(), tolerance(WeightFormat::kF4, 96, magnitude(w), false), kernel->name);
    }
  }
}

TEST(LinearKernels, ACodeThatIsNoNumberMakesItsOutputNoNumber) {
  auto stream = make_stream({.threads = 2});
  Stored w(DType::kF8E4M3, 70, 200, 5);
  w.values.as<std::uint8_t>()[3 * 200 + 150] = 0x7f;
  w.values.as<std::uint8_t>()[69 * 200] = 0xff;
  for (const DType xt : {DType::kBF16, DType::kF32}) {
    const ops::Linear::Problem problem{xt, WeightFormat::kF8, 70, 200, 1};
    for (const auto* kernel : runnable(kernels().linear, problem, stream->capabilities())) {
      const auto packed = kernel->prepare({&w.weight, 1}, problem, *stream);
      for (const std::int64_t m : {1, 9}) {
        TestRows x(xt, m, 200), y(DType::kF32, m, 70);
        x.fill(11);
        kernel->run({&packed, x.view, y.view}, *stream);
        const std::vector<float> got = y.values();
        for (std::size_t i = 0; i < got.size(); ++i) {
          EXPECT_EQ(std::isnan(got[i]), i % 70 == 3 || i % 70 == 69) << kernel->name << " output " << i % 70;
        }
      }
    }
  }
}

TEST(LinearKernels, ARowIsTheSameInEveryBatchAndWithEveryWorkerCount) {
  for (const WeightFormat format : kFormats) {
    auto one = make_stream({.threads = 1});
    auto three = make_stream({.threads = 3});
    const std::int64_t n = 299, k = 544, rows = 70;
    const Stored w(stored_as(format), n, k, 9);
    const ops::Linear::Problem problem{DType::kBF16, format, n, k, 1};
    for (const auto* kernel : runnable(kernels().linear, problem, one->capabilities())) {
      const auto packed = kernel->prepare({&w.weight, 1}, problem, *one);
      TestRows x(DType::kBF16, rows, k), alone(DType::kF32, rows, n);
      x.fill(4);
      for (std::int64_t r = 0; r < rows; ++r) {
        kernel->run({&packed, x.view.slice_rows(r, 1), alone.view.slice_rows(r, 1)}, *one);
      }
      for (Stream* stream : {one.get(), three.get()}) {
        for (const std::int64_t m : {2, 3, 4, 5, 6, 7, 8, 13, 70}) {
          TestRows y(DType::kF32, rows, n);
          for (std::int64_t r = 0; r < rows; r += m) {
            const std::int64_t count = std::min(m, rows - r);
            kernel->run({&packed, x.view.slice_rows(r, count), y.view.slice_rows(r, count)}, *stream);
          }
          EXPECT_EQ(y.values(), alone.values()) << kernel->name << " " << name_of(format) << " " << m;
        }
      }
    }
  }
}

struct Experts {
  std::vector<std::unique_ptr<Stored>> stored;
  std::vector<ops::PackedMlp> packed;
  std::vector<const ops::PackedMlp*> groups;
  std::vector<std::int32_t> offsets{0};
  std::int64_t rows = 0;

  Experts(WeightFormat format, const ops::GroupedMlp::Problem& p,
          const ops::Kernel<ops::GroupedMlp>& kernel, const std::vector<std::int64_t>& counts,
          Stream& stream) {
    for (std::size_t e = 0; e < counts.size(); ++e) {
      const auto seed = static_cast<unsigned>(100 + 3 * e);
      const Stored gate(stored_as(format), p.inter, p.hidden, seed);
      const Stored up(stored_as(format), p.inter, p.hidden, seed + 1);
      const Stored down(stored_as(format), p.hidden, p.inter, seed + 2);
      packed.push_back(kernel.prepare(gate.weight, up.weight, down.weight, p, stream));
      if (!p.bias) continue;
      const std::int64_t biases = 2 * p.inter + p.hidden;
      packed.back().bias = Buffer(static_cast<std::size_t>(biases) * sizeof(float));
      for (std::int64_t i = 0; i < biases; ++i) packed.back().bias.as<float>()[i] = static_cast<float>(i % 13) / 4 - 1.5f;
    }
    for (std::size_t e = 0; e < counts.size(); ++e) {
      groups.push_back(&packed[e]);
      rows += counts[e];
      offsets.push_back(static_cast<std::int32_t>(rows));
    }
  }
};

std::vector<float> run_mlp(const ops::Kernel<ops::GroupedMlp>& kernel, const Experts& experts,
                           const ops::GroupedMlp::Problem& p, DType xt, Stream& stream) {
  TestRows x(xt, 11, p.hidden);
  x.fill(21, 0.05f);
  std::vector<std::int32_t> tokens;
  for (std::int64_t r = 0; r < experts.rows; ++r) tokens.push_back(static_cast<std::int32_t>(r * 5 % 11));
  TestRows out(DType::kF32, experts.rows, p.hidden);
  Buffer scratch(ops::GroupedMlp::scratch_bytes(experts.rows, p.inter));
  kernel.run({x.view, experts.groups, experts.offsets.data(), tokens.data(), out.f32(), scratch.data()}, stream);
  return out.values();
}

TEST(GroupedMlpKernels, AgreeWithTheReferenceOnRaggedEmptyAndOddGroups) {
  auto stream = make_stream({.threads = 2});
  const std::vector<std::vector<std::int64_t>> counts = {
      {1}, {0, 1, 0}, {0, 0}, {3, 0, 1, 8}, {70, 0, 5, 1, 130}};
  for (const WeightFormat format : kFormats) {
    const bool whole_blocks = format == WeightFormat::kF4;
    for (const auto& [hidden, inter] : {std::pair{256, 128}, whole_blocks ? std::pair{96, 32} : std::pair{33, 17},
                                        whole_blocks ? std::pair{32, 224} : std::pair{130, 201}}) {
      for (const DType xt : {DType::kBF16, DType::kF32}) {
        const ops::GroupedMlp::Problem p{xt, format, hidden, inter};
        for (const auto& rows : counts) {
          const Experts reference(format, p, ops::reference::kGroupedMlp, rows, *stream);
          const auto want = run_mlp(ops::reference::kGroupedMlp, reference, p, xt, *stream);
          double size = 1e-3;
          for (float v : want) size = std::max<double>(size, std::fabs(v));
          for (const auto* kernel : runnable(kernels().grouped_mlp, p, stream->capabilities())) {
            const Experts experts(format, p, *kernel, rows, *stream);
            const auto got = run_mlp(*kernel, experts, p, xt, *stream);
            expect_near(got, want, size * (format == WeightFormat::kF32 ? 1e-4 : 0x1p-6),
                        std::string(kernel->name) + " " + name_of(format));
          }
        }
      }
    }
  }
}

TEST(GroupedMlpKernels, LimitAndOffsetAndAddBiases) {
  auto stream = make_stream({.threads = 2});
  for (const WeightFormat format : kFormats) {
    ops::GroupedMlp::Problem p{DType::kBF16, format, 96, 64};
    p.glu = {1.702f, 0.75f, 1};
    p.bias = true;
    const Experts reference(format, p, ops::reference::kGroupedMlp, {3, 0, 90}, *stream);
    const auto want = run_mlp(ops::reference::kGroupedMlp, reference, p, DType::kBF16, *stream);
    double size = 1e-3;
    for (float v : want) size = std::max<double>(size, std::fabs(v));
    for (const auto* kernel : runnable(kernels().grouped_mlp, p, stream->capabilities())) {
      const Experts experts(format, p, *kernel, {3, 0, 90}, *stream);
      expect_near(run_mlp(*kernel, experts, p, DType::kBF16, *stream), want, size * (format == WeightFormat::kF32 ? 1e-4 : 0x1p-6),
                  std::string(kernel->name) + " " + name_of(format));
    }
  }
}

TEST(GroupedMlpKernels, WorkersAndBatchesDoNotChangeABit) {
  auto one = make_stream({.threads = 1});
  auto three = make_stream({.threads = 3});
  for (const WeightFormat format : kFormats) {
    const ops::GroupedMlp::Problem p{DType::kBF16, format, 256, 160};
    for (const auto* kernel : runnable(kernels().grouped_mlp, p, one->capabilities())) {
      const Experts many(format, p, *kernel, {77}, *one);
      const Experts single(format, p, *kernel, {1}, *one);
      const auto batch = run_mlp(*kernel, many, p, DType::kBF16, *one);
      EXPECT_EQ(run_mlp(*kernel, many, p, DType::kBF16, *three), batch) << kernel->name;
      const auto alone = run_mlp(*kernel, single, p, DType::kBF16, *three);
      EXPECT_TRUE(std::equal(alone.begin(), alone.end(), batch.begin())) << kernel->name;
    }
  }
}

}  // namespace
}  // namespace braid::cpu
