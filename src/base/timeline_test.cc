// SPDX-License-Identifier: Apache-2.0
#include "base/timeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

namespace braid {
namespace {

using ::testing::ElementsAre;

std::vector<std::int64_t> numbers(const Timeline& timeline) {
  std::vector<std::int64_t> numbers;
  for (const auto& span : timeline.recent()) numbers.push_back(span.number);
  return numbers;
}

void add(Timeline& timeline, std::int64_t number) { timeline.add({"span", "number", number, {}, {}}); }

TEST(Timeline, KeepsTheNewestSpans) {
  Timeline timeline(3);
  for (int i = 0; i < 5; ++i) add(timeline, i);
  EXPECT_THAT(numbers(timeline), ElementsAre());
  timeline.commit();
  EXPECT_THAT(numbers(timeline), ElementsAre(2, 3, 4));
}

TEST(Timeline, WhatIsDroppedIsNeverSeen) {
  Timeline timeline;
  add(timeline, 1);
  timeline.drop();
  add(timeline, 2);
  timeline.commit();
  EXPECT_THAT(numbers(timeline), ElementsAre(2));
}

TEST(Timeline, ScopesEndInsideOneAnother) {
  Timeline timeline;
  {
    const Timeline::Scope outer(&timeline, "outer");
    const Timeline::Scope inner(&timeline, "inner");
  }
  { const Timeline::Scope nothing(nullptr, "nothing"); }
  timeline.commit();
  const auto spans = timeline.recent();
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_STREQ(spans[0].name, "inner");
  EXPECT_LE(spans[1].begin, spans[0].begin);
  EXPECT_LE(spans[0].end, spans[1].end);
}

TEST(Timeline, ReadersSeeWholeCommits) {
  Timeline timeline(1000);
  std::thread writer([&] {
    for (int i = 0; i < 2000; ++i) {
      add(timeline, i);
      add(timeline, i);
      timeline.commit();
    }
  });
  for (int i = 0; i < 200; ++i) {
    const auto seen = numbers(timeline);
    ASSERT_EQ(seen.size() % 2, 0u);
    for (std::size_t at = 0; at < seen.size(); at += 2) ASSERT_EQ(seen[at], seen[at + 1]);
  }
  writer.join();
}

TEST(Timeline, IsWrittenInChromeSFormat) {
  const TimePoint start = std::chrono::steady_clock::now();
  const std::string one = trace_events({{"experts", "layer", 3, start, start + std::chrono::microseconds(7)}}, 0, "rank 0");
  const auto file = nlohmann::json::parse(trace_file({one, "", trace_events({}, 1, "rank 1")}));
  const auto& events = file.at("traceEvents");
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0]["args"]["name"], "rank 0");
  EXPECT_EQ(events[1]["name"], "experts");
  EXPECT_EQ(events[1]["args"]["layer"], 3);
  EXPECT_NEAR(events[1]["dur"], 7, 0.001);
  EXPECT_EQ(events[2]["pid"], 1);
  const double now = std::chrono::duration<double, std::micro>(std::chrono::system_clock::now().time_since_epoch()).count();
  EXPECT_NEAR(events[1]["ts"], now, 60e6);
}

}  // namespace
}  // namespace braid
