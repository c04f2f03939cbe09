// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "ops/reference/fixture.h"
#include "ops/reference/packed.h"

namespace braid::ops::reference {
namespace {

using ::testing::ElementsAre;

Weight weight(std::vector<float>& values, std::int64_t rows, std::int64_t cols) {
  return Weight(TensorView{values.data(), DType::kF32, {rows, cols}});
}

TEST(Linear, StacksPartsAndAccumulates) {
  NoStream stream;
  std::vector<float> a = {1, 2, 3, 4}, b = {5, 6};
  const std::vector<Weight> parts = {weight(a, 2, 2), weight(b, 1, 2)};
  const auto packed = kLinear.prepare(parts, {DType::kF32, WeightFormat::kF32, 3, 2, 1}, stream);
  std::vector<float> x = {1, 10, 2, 0}, y(6);
  Linear::Args args{&packed, f32(x, 2, 2), f32(y, 2, 3)};
  kLinear.run(args, stream);
  EXPECT_THAT(y, ElementsAre(21, 43, 65, 2, 6, 10));
  args.accumulate = true;
  kLinear.run(args, stream);
  EXPECT_THAT(y, ElementsAre(42, 86, 130, 4, 12, 20));
}

TEST(Linear, MultipliesEachBatchEntryByItsOwnWeight) {
  NoStream stream;
  std::vector<float> w = {1, 2, 3, 4};  // two entries of [1, 2]
  const Weight all = weight(w, 2, 2);
  const std::vector<Weight> parts = {all.window(0, 1, 0, 2), all.window(1, 1, 0, 2)};
  const auto packed = kLinear.prepare(parts, {DType::kF32, WeightFormat::kF32, 1, 2, 2}, stream);
  std::vector<float> x = {1, 1, 10, 10}, y(2);
  kLinear.run({&packed, f32(x, 1, 2), f32(y, 1, 1), 2, 1}, stream);
  EXPECT_THAT(y, ElementsAre(3, 70));
}

TEST(Linear, ReadsTransposedWindows) {
  NoStream stream;
  std::vector<float> w = {1, 2, 3, 4, 5, 6};  // stored [2, 3]
  const Weight part = weight(w, 2, 3).transpose();
  const auto packed =
      kLinear.prepare({&part, 1}, {DType::kF32, WeightFormat::kF32, 3, 2, 1}, stream);
  std::vector<float> x = {1, 10}, y(3);
  kLinear.run({&packed, f32(x, 1, 2), f32(y, 1, 3)}, stream);
  EXPECT_THAT(y, ElementsAre(41, 52, 63));
}

TEST(Linear, ScalesBlocksOfFp8) {
  NoStream stream;
  std::vector<std::uint8_t> codes(130, f32_to_f8e4m3(1.0f));
  std::vector<float> scales = {2, 0.5f};  // the second block has two columns
  const Weight part({codes.data(), DType::kF8E4M3, {1, 130}}, {scales.data(), DType::kF32, {1, 2}});
  const auto packed =
      kLinear.prepare({&part, 1}, {DType::kF32, WeightFormat::kF8, 1, 130, 1}, stream);
  std::vector<float> x(130, 1.0f), y(1);
  kLinear.run({&packed, f32(x, 1, 130), f32(y, 1, 1)}, stream);
  EXPECT_EQ(y[0], 257);
}

TEST(Linear, RoundsToTheFormatOfTheWeight) {
  NoStream stream;
  std::vector<float> w = {1.001f, 127};
  const Weight part = weight(w, 1, 2);
  std::vector<float> x = {1, 0}, y(1);
  const std::pair<WeightFormat, float> cases[] = {
      {WeightFormat::kF32, 1.001f}, {WeightFormat::kBF16, 1}, {WeightFormat::kI8, 1}};
  for (const auto& [format, expected] : cases) {
    const auto packed = kLinear.prepare({&part, 1}, {DType::kF32, format, 1, 2, 1}, stream);
    kLinear.run({&packed, f32(x, 1, 2), f32(y, 1, 1)}, stream);
    EXPECT_NEAR(y[0], expected, 1e-6) << name_of(format);
  }
}

TEST(Linear, AddsABiasToEveryRow) {
  NoStream stream;
  std::vector<float> w = {1, 2, 3, 4}, x = {1, 0, 0, 1}, y(4), bias = {10, 20};
  const Weight part = weight(w, 2, 2);
  const auto packed = kLinear.prepare({&part, 1}, {DType::kF32, WeightFormat::kF32, 2, 2, 1, false, true}, stream);
  Linear::Args args{&packed, f32(x, 2, 2), f32(y, 2, 2)};
  args.bias = bias.data();
  kLinear.run(args, stream);
  EXPECT_EQ(y, (std::vector<float>{11, 23, 12, 24}));
}

TEST(Int8, HasAScalePerBlockOf128) {
  std::vector<float> row(129, 1.0f);
  row[0] = 254;
  row[128] = 0.001f;
  through_int8(row);
  EXPECT_EQ(row[0], 254);
  EXPECT_EQ(row[1], 0);  // 0.5 steps: to even
  EXPECT_NEAR(row[128], 0.001f, 1e-9);
}

TEST(GroupedMlp, GatesAndProjectsTheRowsOfEachGroup) {
  NoStream stream;
  std::vector<float> gate = {1, 0}, up = {0, 1}, down = {1, 2};
  const GroupedMlp::Problem problem{DType::kF32, WeightFormat::kF32, 2, 1};
  const auto one = kGroupedMlp.prepare(
      weight(gate, 1, 2), weight(up, 1, 2), weight(down, 2, 1), problem, stream);
  std::vector<float> down2 = {10, 20};
  const auto ten = kGroupedMlp.prepare(
      weight(gate, 1, 2), weight(up, 1, 2), weight(down2, 2, 1), problem, stream);
  std::vector<float> x = {1, 2, 0, 5}, out(6, -1);
  const PackedMlp* groups[] = {&one, &one, &ten};
  const std::int32_t offsets[] = {0, 1, 1, 3};
  const std::int32_t tokens[] = {0, 1, 0};
  kGroupedMlp.run({f32(x, 2, 2), groups, offsets, tokens, {out.data(), 3, 2}, nullptr}, stream);
  const float act = 2 / (1 + std::exp(-1.0f));  // silu(1) * 2
  EXPECT_NEAR(out[0], act, 1e-6);
  EXPECT_NEAR(out[1], 2 * act, 1e-6);
  EXPECT_EQ(out[2], 0);  // silu(0)
  EXPECT_EQ(out[3], 0);
  EXPECT_NEAR(out[4], 10 * act, 1e-5);
  EXPECT_NEAR(out[5], 20 * act, 1e-5);
}

TEST(GroupedMlp, LimitsOffsetsAndAddsBiases) {
  NoStream stream;
  std::vector<float> gate = {1, 2}, up = {-1, 3}, down = {1, 2};
  GroupedMlp::Problem problem{DType::kF32, WeightFormat::kF32, 1, 2};
  problem.glu = {1.5f, 4, 1};
  problem.bias = true;
  auto mlp = kGroupedMlp.prepare(weight(gate, 2, 1), weight(up, 2, 1), weight(down, 1, 2), problem, stream);
  const float biases[] = {0.5f, 0, -1, 0, 100};
  mlp.bias = Buffer(sizeof(biases));
  std::copy(std::begin(biases), std::end(biases), mlp.bias.as<float>());
  std::vector<float> x = {2.5f}, out(1);
  const PackedMlp* groups[] = {&mlp};
  const std::int32_t offsets[] = {0, 1};
  kGroupedMlp.run({f32(x, 1, 1), groups, offsets, nullptr, {out.data(), 1, 1}, nullptr}, stream);
  const auto opened = [](double g) { return g / (1 + std::exp(-1.5 * g)); };
  // gates 3 and 5, of which 4 remains; ups -3.5 and 7.5, of which 4 remains
  EXPECT_NEAR(out[0], opened(3) * -2.5 + 2 * opened(4) * 5 + 100, 1e-4);
}

}  // namespace
}  // namespace braid::ops::reference
