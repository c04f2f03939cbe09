// SPDX-License-Identifier: Apache-2.0
#include "app/expert_loads.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace braid::app {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(ExpertLoads, ReadsJsonAndCsv) {
  const auto json = parse_expert_loads(R"({"ranks": 4, "loads": [[1, 2.5], [3, 0]]})");
  ASSERT_TRUE(json.ok()) << json.error().message;
  EXPECT_THAT(json->layers, ElementsAre(ElementsAre(1, 2.5), ElementsAre(3, 0)));
  EXPECT_EQ(json->ranks, 4);
  EXPECT_FALSE(json->redundant.has_value());
  EXPECT_THAT(parse_expert_loads("1,2\n\n3, 4\n")->layers, ElementsAre(ElementsAre(1, 2), ElementsAre(3, 4)));
}

TEST(ExpertLoads, RefusesWhatIsNeither) {
  const auto error = [](const char* text) { return parse_expert_loads(text).error().message; };
  EXPECT_THAT(error("{\"loads\": 3}"), HasSubstr("expected {\"loads\": [["));
  EXPECT_THAT(error("[[1]]"), HasSubstr("expected {\"loads\": [["));
  EXPECT_THAT(error("1,2\n3,x\n"), HasSubstr("line 2 has 'x'"));
  EXPECT_THAT(error("1,2\n3\n"), HasSubstr("layer 1 has 1 experts, layer 0 has 2"));
  EXPECT_THAT(error("1,-2\n"), HasSubstr("layer 0 has a load"));
  EXPECT_THAT(error(""), HasSubstr("there is no layer"));
}

TEST(ExpertLoads, ZipfLoadsHaveAnotherOrderInEveryLayer) {
  auto loads = zipf_loads(2, 50, 1, 3);
  EXPECT_NE(loads.layers[0], loads.layers[1]);
  for (auto& layer : loads.layers) std::sort(layer.rbegin(), layer.rend());
  EXPECT_EQ(loads.layers[0], loads.layers[1]);
  EXPECT_NEAR(loads.layers[0][0] / loads.layers[0][9], 10, 1e-9);
}

}  // namespace
}  // namespace braid::app
