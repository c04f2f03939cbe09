// SPDX-License-Identifier: Apache-2.0
#include "metrics/merge.h"

#include <gtest/gtest.h>

namespace braid::metrics {
namespace {

TEST(Merge, PutsTheSamplesOfAMetricTogether) {
  const std::string a = "# HELP x What.\n# TYPE x gauge\nx{engine=\"0\"} 1\n# HELP y Why.\n# TYPE y counter\ny_total{engine=\"0\"} 2\n";
  const std::string b = "# HELP x What.\n# TYPE x gauge\nx{engine=\"1\"} 3\n# HELP z Else.\n# TYPE z gauge\nz{engine=\"1\"} 4\n";
  EXPECT_EQ(merge({a, b}),
            "# HELP x What.\n# TYPE x gauge\nx{engine=\"0\"} 1\nx{engine=\"1\"} 3\n"
            "# HELP y Why.\n# TYPE y counter\ny_total{engine=\"0\"} 2\n"
            "# HELP z Else.\n# TYPE z gauge\nz{engine=\"1\"} 4\n");
}

TEST(Merge, OneTextStaysAsItIs) {
  const std::string a = "# HELP x What.\n# TYPE x gauge\nx 1\n";
  EXPECT_EQ(merge({a}), a);
  EXPECT_EQ(merge({"", a}), a);
}

}  // namespace
}  // namespace braid::metrics
