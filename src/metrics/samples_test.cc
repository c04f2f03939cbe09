// SPDX-License-Identifier: Apache-2.0
#include "metrics/samples.h"

#include <gtest/gtest.h>

namespace braid::metrics {
namespace {

TEST(Samples, ReadsNamesLabelsAndNumbersAndLeavesOutTheRest) {
  const auto s = Samples::parse(
      "# HELP a what\n# TYPE a counter\na{engine=\"0\",x=\"q\\\"{},\\\\\"} 2\na{engine=\"1\"} 3.5\na{engine=\"0\"} 4 1700000000\n"
      "plain 7\ninf +Inf\nbroken{engine=\"0\nnothing\nbad{x=1} 2\nno_number{} \n");
  ASSERT_EQ(s.all().size(), 5u);
  EXPECT_EQ(s.named("a").front()->labels.at("x"), "q\"{},\\");
  EXPECT_EQ(s.sum("a", "engine", "0"), 6);
  EXPECT_EQ(s.sum("a", "engine", "1"), 3.5);
  EXPECT_EQ(s.sum("a", "engine", "2"), 0);
  EXPECT_EQ(s.named("plain").front()->value, 7);
}

}  // namespace
}  // namespace braid::metrics
