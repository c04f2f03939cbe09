// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "parse/scanner.h"
#include "parse/sink.h"

namespace braid::parse {

// How a family writes tool calls: a state machine over marked text. What it cannot read as a call it
// passes on as content.
class ToolFormat {
 public:
  virtual ~ToolFormat() = default;

  void push(std::string_view text, Sink& sink) {
    in_.push(text);
    while (step(sink)) {
    }
  }
  void finish(bool cut, Sink& sink) {
    in_.end(cut);
    while (step(sink)) {
    }
  }

 protected:
  // Reads on; false when it needs more text, or at the end of the output.
  virtual bool step(Sink& sink) = 0;

  Scanner in_;
};

// A named format.
struct ToolFormatKind {
  std::string_view name;
  std::unique_ptr<ToolFormat> (*make)();
  std::vector<std::string_view> starts;  // markers that begin a call
  enum class Off { kText, kHidden } off; // what becomes of calls when the request has no use for tools
};

// All formats but Harmony, which is not tools alone (harmony.h).
const std::vector<ToolFormatKind>& tool_formats();

// One file each, listed in formats.cc.
std::unique_ptr<ToolFormat> make_deepseek_v3();
std::unique_ptr<ToolFormat> make_deepseek_v31();
std::unique_ptr<ToolFormat> make_kimi_k2();
std::unique_ptr<ToolFormat> make_deepseek_v32();
std::unique_ptr<ToolFormat> make_deepseek_v4();
std::unique_ptr<ToolFormat> make_qwen3_coder();
std::unique_ptr<ToolFormat> make_glm45();
std::unique_ptr<ToolFormat> make_hermes();
std::unique_ptr<ToolFormat> make_llama_json();
std::unique_ptr<ToolFormat> make_mistral();
std::unique_ptr<ToolFormat> make_pythonic();
std::unique_ptr<ToolFormat> make_json_list();

}  // namespace braid::parse
