// SPDX-License-Identifier: Apache-2.0
#include "parse/tool_format.h"

namespace braid::parse {

const std::vector<ToolFormatKind>& tool_formats() {
  using Off = ToolFormatKind::Off;
  static const std::vector<ToolFormatKind> kinds = {
      {"deepseek_v3", make_deepseek_v3, {"<｜tool▁calls▁begin｜>"}, Off::kText},
      {"deepseek_v31", make_deepseek_v31, {"<｜tool▁calls▁begin｜>"}, Off::kText},
      {"deepseek_v32", make_deepseek_v32, {"<｜DSML｜function_calls>"}, Off::kHidden},
      {"deepseek_v4", make_deepseek_v4, {"<｜DSML｜tool_calls>"}, Off::kHidden},
      {"kimi_k2", make_kimi_k2, {"<|tool_calls_section_begin|>"}, Off::kText},
      {"hermes", make_hermes, {"<tool_call>"}, Off::kText},
      {"qwen3_coder", make_qwen3_coder, {"<tool_call>", "<function="}, Off::kHidden},
      {"qwen3_xml", make_qwen3_coder, {"<tool_call>", "<function="}, Off::kHidden},
      {"glm45", make_glm45, {"<tool_call>"}, Off::kHidden},
      {"glm47", make_glm45, {"<tool_call>"}, Off::kHidden},
      {"mistral", make_mistral, {"[TOOL_CALLS]"}, Off::kHidden},
      {"llama3_json", make_llama_json, {}, Off::kText},
      {"llama4_json", make_llama_json, {}, Off::kText},
      {"llama4_pythonic", make_pythonic, {}, Off::kText},
      {"pythonic", make_pythonic, {}, Off::kText},
      {"json_list", make_json_list, {}, Off::kText},
  };
  return kinds;
}

}  // namespace braid::parse
