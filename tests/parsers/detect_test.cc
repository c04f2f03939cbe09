// SPDX-License-Identifier: Apache-2.0
// The templates of published models tell which parsers read their outputs.
#include "parse/detect.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <utility>

namespace braid::parse {
namespace {

using Names = std::pair<std::string, std::string>;

const std::map<std::string, Names> kExpected = {
    {"deepseek_r1_distill_qwen", {"deepseek_v3", "deepseek_r1"}},
    {"deepseek_r1_vllm", {"deepseek_v3", "deepseek_r1"}},
    {"deepseek_v3", {"deepseek_v3", ""}},
    {"deepseek_v3_vllm", {"deepseek_v3", ""}},
    {"deepseek_v31", {"deepseek_v31", "deepseek_v3"}},
    {"deepseek_v31_vllm", {"deepseek_v31", "deepseek_v3"}},
    {"deepseek_v32", {"deepseek_v32", "deepseek_v3"}},
    {"deepseek_v4", {"deepseek_v4", "deepseek_v4"}},
    {"glm_4_6", {"glm45", "glm45"}},
    {"glm_4_7", {"glm45", "glm45"}},
    {"gpt_oss", {"openai", "openai_gptoss"}},
    {"kimi_k2", {"kimi_k2", ""}},
    {"kimi_k2_instruct", {"kimi_k2", ""}},
    {"kimi_k2_thinking", {"kimi_k2", "kimi_k2"}},
    {"llama4_json", {"llama4_json", ""}},
    {"llama4_pythonic", {"llama4_pythonic", ""}},
    {"minimax_m2", {"", ""}},
    {"ministral_3", {"mistral", "mistral"}},
    {"mistral_nemo", {"mistral", ""}},
    {"mistral_parallel_vllm", {"mistral", ""}},
    {"mistral_small_3_2", {"mistral", ""}},
    {"qwen2_5", {"hermes", ""}},
    {"qwen3", {"hermes", "qwen3"}},
    {"qwen3_5", {"qwen3_coder", "qwen3"}},
    {"qwen3_coder", {"qwen3_coder", ""}},
    {"qwq_32b", {"hermes", "qwen3"}},
};

TEST(Detect, finds_the_parsers_of_published_models_by_their_templates) {
  for (const auto& [family, expected] : kExpected) {
    std::ifstream file(std::string(BRAID_BINARY_DIR) + "/golden/jinja/" + family + ".jinja");
    std::ostringstream text;
    text << file.rdbuf();
    ASSERT_FALSE(text.str().empty()) << family;
    const ParserNames names = detect_parsers(text.str());
    EXPECT_EQ(Names(names.tools, names.reasoning), expected) << family;
    EXPECT_TRUE(check_names(names).ok());
  }
}

TEST(Detect, finds_nothing_in_a_template_without_markers) {
  const ParserNames names = detect_parsers("{% for m in messages %}{{ m.content }}{% endfor %}");
  EXPECT_TRUE(names.tools.empty() && names.reasoning.empty());
}

}  // namespace
}  // namespace braid::parse
