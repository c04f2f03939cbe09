// SPDX-License-Identifier: Apache-2.0
#include "serve/stop_strings.h"

#include <gtest/gtest.h>

namespace braid::serve {
namespace {

// Feeds `text` cut after every `step` characters.
std::string feed(StopStrings& stops, const std::string& text, std::size_t step) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); at += step) out += stops.append(text.substr(at, step));
  return out + stops.finish();
}

TEST(StopStrings, CutsAtTheFirstMatchForEveryChunking) {
  for (std::size_t step = 1; step < 20; ++step) {
    StopStrings stops({"END", "\n\n"}, false);
    EXPECT_EQ(feed(stops, "one EN two END three\n\n", step), "one EN two ");
    EXPECT_EQ(stops.found(), "END");
    StopStrings including({"END"}, true);
    EXPECT_EQ(feed(including, "one END", step), "one END");
    StopStrings none({"xyz"}, false);
    EXPECT_EQ(feed(none, "ends with xy", step), "ends with xy");
    EXPECT_FALSE(none.found().has_value());
  }
}

TEST(StopStrings, HoldsBackNoMoreThanMayBecomeAMatch) {
  StopStrings stops({"abc"}, false);
  EXPECT_EQ(stops.append("xab"), "x");
  EXPECT_EQ(stops.append("d"), "abd");
}

}  // namespace
}  // namespace braid::serve
