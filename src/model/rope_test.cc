// SPDX-License-Identifier: Apache-2.0
#include "model/rope.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/reference/fixture.h"

namespace braid::model {
namespace {

constexpr int kPositions = 12, kDim = 8;

struct Table {
  explicit Table(RopeScaling scaling) {
    Config c;
    c.rope_dim = kDim;
    c.rope_scaling = scaling;
    ops::reference::NoStream stream;
    const Rope rope(c, kPositions, stream);
    const auto table = rope.table();
    cos.assign(table.cos, table.cos + kPositions * kDim / 2);
    sin.assign(table.sin, table.sin + kPositions * kDim / 2);
  }
  static std::size_t at(int position, int pair) { return static_cast<std::size_t>(position * kDim / 2 + pair); }
  std::vector<float> cos, sin;
};

TEST(Rope, LinearScalingTurnsAPositionAsFarAsItsShare) {
  const Table plain({}), stretched({.kind = RopeScaling::Kind::kLinear, .factor = 4});
  for (int position = 0; position < kPositions / 4; ++position) {
    for (int pair = 0; pair < kDim / 2; ++pair) {
      EXPECT_NEAR(stretched.cos[Table::at(4 * position, pair)], plain.cos[Table::at(position, pair)], 1e-6);
      EXPECT_NEAR(stretched.sin[Table::at(4 * position, pair)], plain.sin[Table::at(position, pair)], 1e-6);
    }
  }
}

TEST(Rope, YarnMultipliesByTheFactorThatIsSaidOrFollowsFromTheStretch) {
  const RopeScaling yarn{.kind = RopeScaling::Kind::kYarn, .factor = 8, .original_positions = 64};
  EXPECT_NEAR(Table(yarn).cos[0], 0.1 * std::log(8.0) + 1, 1e-6);
  RopeScaling said = yarn;
  said.attention_factor = 1.5;
  EXPECT_EQ(Table(said).cos[0], 1.5f);
}

}  // namespace
}  // namespace braid::model
