// SPDX-License-Identifier: Apache-2.0
#include "app/top_frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace braid::app {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

metrics::Samples two_ranks(int generated) {
  std::string text;
  for (const char* rank : {"0", "1"}) {
    const std::string labels = "{model_name=\"lexicon\",engine=\"" + std::string(rank) + "\"} ";
    text += "vllm:num_requests_running" + labels + "3\nvllm:num_requests_waiting" + labels + "12\nvllm:engine_healthy" + labels +
            (*rank == '0' ? "1" : "0") + "\nvllm:kv_cache_usage_perc" + labels + "0.5\nvllm:prompt_tokens_total" + labels + "10\nvllm:generation_tokens_total" +
            labels + std::to_string(generated) + "\n";
  }
  return metrics::Samples::parse(text);
}

TEST(TopFrame, ShowsEveryRankWithItsQueuesCacheAndRates) {
  const auto lines = top_frame(two_ranks(300), two_ranks(100), 2, 120);
  EXPECT_EQ(lines[0], "lexicon, 2 ranks, 1 healthy");
  EXPECT_EQ(lines[3], "    0        3       12  [##########          ]  50 %            0          100            300");
  EXPECT_THAT(lines[4], HasSubstr("dead"));
  EXPECT_THAT(lines, Contains(HasSubstr("no loads are measured")));
}

TEST(TopFrame, TheFirstFrameHasNoRates) {
  EXPECT_THAT(top_frame(two_ranks(300), {}, 0, 120)[3], HasSubstr("-            -            300"));
}

TEST(TopFrame, ShowsBalanceAndHeatOfExperts) {
  std::string text = "vllm:num_requests_running{engine=\"0\"} 0\nbraid:eplb_balancedness{engine=\"0\",layer=\"1\"} 0.9\n"
                     "braid:eplb_balancedness{engine=\"0\",layer=\"2\"} 0.7\nbraid:eplb_rank_rows{rank=\"0\"} 30\nbraid:eplb_rank_rows{rank=\"1\"} 10\n";
  for (int e = 0; e < 70; ++e) text += "braid:eplb_expert_rows{expert=\"" + std::to_string(e) + "\"} " + std::to_string(e) + "\n";
  const auto lines = top_frame(metrics::Samples::parse(text), {}, 0, 100);
  EXPECT_THAT(lines, Contains("experts: balance 0.80 on average, 0.70 in layer 2"));
  EXPECT_THAT(lines, Contains("    0  [###############     ]  75 % of rows"));
  EXPECT_THAT(lines, Contains(StartsWith("    0   ........::")));
  EXPECT_THAT(lines, Contains("   64  %%%%%@"));
}

TEST(TopFrame, CutsLinesToTheTerminalAndSaysWhenNothingIsTold) {
  for (const auto& line : top_frame(two_ranks(1), {}, 0, 30)) EXPECT_LE(line.size(), 30u);
  EXPECT_THAT(top_frame({}, {}, 0, 80), ElementsAre("no rank tells anything"));
}

}  // namespace
}  // namespace braid::app
