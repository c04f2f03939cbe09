// SPDX-License-Identifier: Apache-2.0
// Plays tests/scenarios/router/*.txt; their README explains the format.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "router/replay.h"

namespace braid::router {
namespace {

std::vector<std::filesystem::path> scenario_files() {
  std::vector<std::filesystem::path> files;
  const std::filesystem::path folder = BRAID_SOURCE_DIR "/tests/scenarios/router";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".txt") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string contents(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return std::move(text).str();
}

class RouterScenario : public ::testing::TestWithParam<std::filesystem::path> {};

TEST_P(RouterScenario, goes_as_written) {
  const auto told = explain_scenario(contents(GetParam()), GetParam().filename().string(), false);
  EXPECT_TRUE(told.ok()) << told.error().message;
}

INSTANTIATE_TEST_SUITE_P(Files,
                         RouterScenario,
                         ::testing::ValuesIn(scenario_files()),
                         [](const auto& info) { return info.param.stem().string(); });

TEST(Explanation, says_what_each_scorer_gave_and_who_was_picked) {
  const std::string scenario = "endpoint a waiting=1 kv=0.5\nendpoint b waiting=0 kv=0.5\nrequest R prompt=A:10\n";
  const auto text = explain_scenario(scenario, "s", false);
  ASSERT_TRUE(text.ok()) << text.error().message;
  EXPECT_NE(text->find("b 3 = queue-scorer 2 * 1 + kv-cache-utilization-scorer 2 * 0.5 + prefix-cache-scorer 3 * 0"), std::string::npos) << *text;
  EXPECT_NE(text->find("max-score-picker picks b"), std::string::npos) << *text;
  const auto json = explain_scenario(scenario, "s", true);
  ASSERT_TRUE(json.ok());
  EXPECT_NE(json->find(R"("b":{"total":3,"scores":{"queue-scorer":1,)"), std::string::npos) << *json;
}

TEST(Explanation, an_expectation_that_does_not_hold_is_an_error_with_its_line) {
  const auto told = explain_scenario("endpoint a\nendpoint b waiting=1\nrequest R prompt=A:10\nto R c\n", "s", false);
  ASSERT_FALSE(told.ok());
  EXPECT_NE(told.error().message.find("s line 4: the target of R is"), std::string::npos) << told.error().message;
}

}  // namespace
}  // namespace braid::router
