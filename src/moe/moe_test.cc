// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "moe/prepare_local.h"

namespace braid::moe {
namespace {

TEST(PrepareLocal, SortsTokensByExpertAndKnowsTheWayBack) {
  const std::vector<std::int32_t> ids{2, 0, 0, 3, 2, 3};  // three tokens, two choices each
  const std::vector<float> weights(6, 1.0f);
  PrepareLocal prepare(4, 2, 8);
  prepare.send({}, {3, 2, ids.data(), weights.data()});
  const Dispatched d = prepare.receive();
  EXPECT_EQ(std::vector<std::int32_t>(d.offsets.begin(), d.offsets.end()), (std::vector<std::int32_t>{0, 2, 2, 4, 6}));
  EXPECT_EQ(std::vector<std::int32_t>(d.row_token.begin(), d.row_token.end()), (std::vector<std::int32_t>{0, 1, 0, 2, 1, 2}));
  const auto slots = prepare.slots();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto row = static_cast<std::size_t>(slots[i]);
    EXPECT_EQ(d.row_token[row], static_cast<std::int32_t>(i / 2));
    EXPECT_GE(slots[i], d.offsets[static_cast<std::size_t>(ids[i])]);
    EXPECT_LT(slots[i], d.offsets[static_cast<std::size_t>(ids[i]) + 1]);
  }
}

TEST(PrepareLocal, TakesAnEmptyStep) {
  PrepareLocal prepare(4, 2, 8);
  prepare.send({}, {0, 2, nullptr, nullptr});
  EXPECT_TRUE(prepare.receive().row_token.empty());
  EXPECT_EQ(prepare.receive().offsets.back(), 0);
}

}  // namespace
}  // namespace braid::moe
