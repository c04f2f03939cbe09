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

metrics::Samples router(int sent) {
  return metrics::Samples::parse(
      "llm_d_epp_ready_endpoints 2\nbraid_route_dead_endpoints 1\nllm_d_epp_request_running{model_name=\"m\"} 4\n"
      "llm_d_epp_flow_control_queue_size{fairness_id=\"a\",priority=\"0\"} 3\nllm_d_epp_flow_control_queue_size{fairness_id=\"b\",priority=\"0\"} 2\n"
      "llm_d_epp_flow_control_pool_saturation{stage=\"decode\"} 0.5\nllm_d_epp_request_total{model_name=\"m\"} " + std::to_string(2 * sent) +
      "\nbraid_route_retries_total{why=\"broken\"} 7\nllm_d_epp_per_endpoint_queue_size{endpoint_name=\"a:1\"} 9\n"
      "llm_d_epp_scheduler_attempts_total{status=\"success\",endpoint_name=\"a:1\"} " + std::to_string(sent) +
      "\nllm_d_epp_scheduler_attempts_total{status=\"success\",endpoint_name=\"b:1\"} " + std::to_string(sent) + "\n");
}

TEST(TopFrame, ShowsARoutersQueuesAndWhereRequestsGo) {
  const auto lines = top_frame(router(30), router(10), 2, 120);
  EXPECT_EQ(lines[0], "router, 2 endpoints answer, 1 do not");
  EXPECT_EQ(lines[1], "4 requests under way, 5 wait in the router, saturation 0.50");
  EXPECT_EQ(lines[2], "requests/s 20.0, errors/s 0.0, retries 7, broken streams 0");
  EXPECT_EQ(lines[5], "a:1                                     9         10.0           30  [##########          ]  50 %");
  EXPECT_THAT(top_frame(router(30), {}, 0, 120)[6], HasSubstr("b:1                                     0            -           30"));
}

TEST(TopFrame, CutsLinesToTheTerminalAndSaysWhenNothingIsTold) {
  for (const auto& line : top_frame(two_ranks(1), {}, 0, 30)) EXPECT_LE(line.size(), 30u);
  EXPECT_THAT(top_frame({}, {}, 0, 80), ElementsAre("no rank tells anything"));
}

}  // namespace
}  // namespace braid::app
