// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <cmath>

#include "ops/reference/fixture.h"

namespace braid::ops::reference {
namespace {

using ::testing::ElementsAre;

TEST(Embed, CopiesRowsOfEitherType) {
  NoStream stream;
  std::vector<float> wide = {1, 2, 3, 4, 5, 6};
  std::vector<std::uint16_t> narrow;
  for (float v : wide) narrow.push_back(f32_to_bf16(v));
  const std::vector<std::int32_t> ids = {2, 0, 2};
  for (DType dtype : {DType::kF32, DType::kBF16}) {
    std::vector<float> out(6);
    const void* table = dtype == DType::kF32 ? static_cast<void*>(wide.data()) : narrow.data();
    kEmbed.run({table, dtype, ids, {out.data(), 3, 2}}, stream);
    EXPECT_THAT(out, ElementsAre(5, 6, 1, 2, 5, 6));
  }
}

TEST(RmsNorm, DividesByTheRootMeanSquare) {
  NoStream stream;
  std::vector<float> x = {3, 4, 0, 0};  // mean square 6.25
  std::vector<float> weight = {1, 2, 3, 4};
  std::vector<float> out(4), out2(4);
  kRmsNorm.run({{x.data(), 1, 4}, weight.data(), 0, f32(out, 1, 4), {out2.data(), 1, 4}}, stream);
  EXPECT_NEAR(out[0], 1.2, 1e-6);
  EXPECT_NEAR(out[1], 3.2, 1e-6);
  EXPECT_EQ(out, out2);
}

struct Rotation {
  std::vector<float> cos{1, 1, 0, -1};  // position 0: none; position 1: 90 and 180 degrees
  std::vector<float> sin{0, 0, 1, 0};
  RopeTable table(bool interleaved) const { return {cos.data(), sin.data(), 4, interleaved}; }
};

TEST(MlaQuery, RotatesPairsOfTheRopePart) {
  NoStream stream;
  const Rotation rotation;
  std::vector<float> q = {9, 1, 2, 3, 4, 8, 5, 6, 7, 8};
  const std::int32_t positions[] = {1};
  std::vector<float> nope(2), rope(8);
  MlaQuery::Args args{{q.data(), 1, 10},
                      2,
                      1,
                      rotation.table(true),
                      positions,
                      f32(nope, 1, 2),
                      1,
                      f32(rope, 1, 8),
                      4};
  kMlaQuery.run(args, stream);
  EXPECT_THAT(nope, ElementsAre(9, 8));
  EXPECT_THAT(rope, ElementsAre(-2, 1, -3, -4, -6, 5, -7, -8));
  args.rope = rotation.table(false);  // pairs (0, 2) and (1, 3)
  kMlaQuery.run(args, stream);
  EXPECT_THAT(rope, ElementsAre(-3, -2, 1, -4, -7, -6, 5, -8));
}

TEST(MlaQuery, PartsMayInterleaveInOneBuffer) {
  NoStream stream;
  const Rotation rotation;
  std::vector<float> q = {9, 1, 2, 3, 4, 8, 5, 6, 7, 8};
  const std::int32_t positions[] = {0};
  std::vector<float> out(10);
  const Activations all = f32(out, 1, 10);
  kMlaQuery.run({{q.data(), 1, 10},
                 2,
                 1,
                 rotation.table(true),
                 positions,
                 all.columns(4, 6),
                 5,
                 all.columns(0, 9),
                 5},
                stream);
  EXPECT_THAT(out, ElementsAre(1, 2, 3, 4, 9, 5, 6, 7, 8, 8));
}

TEST(MlaStore, NormalisesTheLatentAndRotatesTheKey) {
  NoStream stream;
  const Rotation rotation;
  std::vector<float> latent = {3, 4, 1, 2, 3, 4, 5, 5, 5, 5, 5, 5};
  std::vector<float> weight = {1, 10};
  const std::int32_t positions[] = {1, 0};
  const std::int32_t slots[] = {1, -1};
  std::vector<float> cache(12, -1);
  kMlaStore.run({{latent.data(), 2, 6},
                 weight.data(),
                 0,
                 rotation.table(true),
                 positions,
                 slots,
                 f32(cache, 2, 6)},
                stream);
  const float rms = std::sqrt(12.5f);
  EXPECT_THAT(std::vector<float>(cache.begin(), cache.begin() + 6),
              ElementsAre(-1, -1, -1, -1, -1, -1));
  EXPECT_NEAR(cache[6], 3 / rms, 1e-6);
  EXPECT_NEAR(cache[7], 40 / rms, 1e-5);
  EXPECT_THAT(std::vector<float>(cache.begin() + 8, cache.end()), ElementsAre(-2, 1, -3, -4));
}

TEST(GqaPrepare, NormalisesHeadsRotatesAndStores) {
  NoStream stream;
  const std::vector<float> cos = {0}, sin = {1};
  std::vector<float> qkv = {3, 3, 7, /*head 1*/ 0, 6, 0, /*k*/ 1, 2, 3, /*v*/ 4, 5, 6};
  const std::vector<float> k_norm = {1, 1, 1};
  const std::int32_t positions[] = {0};
  const std::int32_t slots[] = {0};
  std::vector<float> q(6), cache(6);
  GqaPrepare::Args args;
  args.qkv = {qkv.data(), 1, 12};
  args.heads = 2;
  args.kv_heads = 1;
  args.dim = 3;
  args.k_norm = k_norm.data();
  args.eps = 0;
  args.rope = {cos.data(), sin.data(), 2, false};
  args.positions = positions;
  args.slots = slots;
  args.q = f32(q, 1, 6);
  args.cache = f32(cache, 1, 6);
  kGqaPrepare.run(args, stream);
  EXPECT_THAT(q, ElementsAre(-3, 3, 7, -6, 0, 0));
  const float rms = std::sqrt(14.0f / 3);
  EXPECT_NEAR(cache[0], -2 / rms, 1e-6);
  EXPECT_NEAR(cache[1], 1 / rms, 1e-6);
  EXPECT_NEAR(cache[2], 3 / rms, 1e-6);
  EXPECT_THAT(std::vector<float>(cache.begin() + 3, cache.end()), ElementsAre(4, 5, 6));
}

}  // namespace
}  // namespace braid::ops::reference
