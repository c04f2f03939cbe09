// SPDX-License-Identifier: Apache-2.0
// Outputs that break their format or carry its markup where it means nothing.
#include <gtest/gtest.h>


#include "parse/parser.h"

namespace braid::parse {
namespace {

struct Case {
  const char* tools;
  const char* reasoning;
  const char* output;
  const char* expected;  // content|reasoning|name arguments|…
};

constexpr const char* kTools = R"([{"type":"function","function":{"name":"run","parameters":{"properties":{
    "code":{"type":"string"},"n":{"type":"integer"}}}}}])";

std::string read(const Case& one, std::size_t size) {
  Request request;
  request.types = ToolTypes(kTools);
  auto parser = make_parser({one.tools, one.reasoning}, std::move(request));
  Delta all;
  const std::string_view output(one.output);
  for (std::size_t at = 0; at < output.size(); at += size) append(all, (*parser)->push(output.substr(at, size)));
  append(all, (*parser)->finish(false));
  std::string result = all.content + '|' + all.reasoning;
  for (const CallDelta& call : all.calls) result += '|' + call.name + ' ' + call.arguments;
  return result;
}

const Case kCases[] = {
    // Markup within values.
    {"glm45", "", "<tool_call>run\n<arg_key>code</arg_key>\n<arg_value>a<arg_key>b</tool_call>c</arg_value>\n<arg_key>n</arg_key>\n<arg_value>1</arg_value>\n</tool_call>",
     R"(||run {"code": "a<arg_key>b</tool_call>c", "n": 1})"},
    {"glm45", "", "<tool_call>run\n<arg_key>code</arg_key>\n<arg_value>a</tool_call>\n<tool_call>run\n</tool_call>", R"(||run {"code": "a"}|run {})"},
    {"glm45", "", "<tool_call>run\n<arg_key>code</arg_key>\n<arg_value>a</tool_call>Done", R"(Done||run {"code": "a"})"},
    {"qwen3_coder", "", "<tool_call>\n<function=run>\n<parameter=code>\n<tool_call></function>x\n</parameter>\n<parameter=n>\n1\n</parameter>\n</function>\n</tool_call>",
     R"(||run {"code": "<tool_call></function>x", "n": 1})"},
    {"deepseek_v32", "", "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"run\">\n<｜DSML｜parameter name=\"code\" string=\"true\">a</｜DSML｜invoke>b</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>",
     R"(||run {"code": "a</｜DSML｜invoke>b"})"},
    // Markers that come twice, alone or not at all.
    {"qwen3_coder", "", "<tool_call><tool_call>\n<function=run>\n</function>\n</function>\n</tool_call>", "||run {}"},
    {"qwen3_coder", "", "<tool_call>\n<fun", "|"},
    {"qwen3_coder", "", "<tool_call>\n is how I call", "<tool_call>\n is how I call|"},
    {"deepseek_v32", "", "<｜DSML｜invoke name=\"run\">\n</｜DSML｜invoke>", "||run {}"},
    {"deepseek_v31", "", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>run<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜tool▁calls▁end｜>", "||run {}"},
    {"kimi_k2", "", "<|tool_calls_section_begin|><|tool_call_begin|>functions.run:0<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|><|tool_call_begin|>functions.run:1<|tool_call_argument_begin|>{}<|tool_call_end|>",
     "||run {}|run {}"},
    {"mistral", "", "[TOOL_CALLS][TOOL_CALLS]run[ARGS]{}", "||run {}"},
    {"mistral", "", "[TOOL_CALLS][TOOL_CALLS] [{\"name\": \"run\", \"arguments\": {}}]", "||run {}"},
    // Outputs that end within a call are JSON all the same.
    {"qwen3_coder", "", "<tool_call>\n<function=run", "||run {}"},
    {"qwen3_coder", "", "<tool_call>\n<function=run>\n<parameter=n>\n1\n</parameter>\n<parameter=co", R"(||run {"n": 1})"},
    {"glm45", "", "<tool_call>run\n<arg_key>n</arg_key>\n<arg_value>1</arg_value>\n<arg_key>code</arg_key>\n", R"(||run {"n": 1})"},
    {"deepseek_v4", "", "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"run\">\n<｜DSML｜parameter name=\"n\" str", "||run {}"},
    // Reasoning that is not closed, and reasoning that is closed twice.
    {"glm45", "glm45", "<think>Hm.<tool_call>run\n</tool_call>", "|Hm.|run {}"},
    {"mistral", "mistral", "[THINK]Hm.[TOOL_CALLS]run[ARGS]{}", "|Hm.|run {}"},
    {"deepseek_v4", "deepseek_v4", "<think>Hm.<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"run\">\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>", "|Hm.|run {}"},
    {"qwen3_coder", "qwen3", "<think>Hm.</think>\n</think>\n<tool_call>\n<function=run>\n</function>\n</tool_call>", "|Hm.|run {}"},
    {"hermes", "qwen3", "<think>Hm.</think>Yes </think>", "Yes </think>|Hm."},
};

TEST(MalformedOutputs, AreReadAsFarAsTheyMakeSense) {
  for (const Case& one : kCases) {
    for (const std::size_t size : {1, 2, 5, 1000}) EXPECT_EQ(read(one, size), one.expected) << one.output << ' ' << size;
  }
}

}  // namespace
}  // namespace braid::parse
