// SPDX-License-Identifier: Apache-2.0
#include "parse/parser.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "parse/harmony.h"
#include "parse/reasoning.h"
#include "parse/tool_format.h"

namespace braid::parse {
namespace {

constexpr std::string_view kHarmonyTools = "openai";
constexpr std::string_view kHarmonyReasoning = "openai_gptoss";

class HarmonyParser : public OutputParser {
 public:
  explicit HarmonyParser(Request request) : request_(std::move(request)), sink_(request_) {}

  Delta push(std::string_view text) override {
    harmony_.push(text, sink_);
    return sink_.take();
  }
  Delta finish(bool cut) override {
    harmony_.finish(cut, sink_);
    sink_.finish();
    return sink_.take();
  }

 private:
  const Request request_;
  Sink sink_;
  Harmony harmony_;
};

// Reasoning first; what is left of the output may hold calls.
class TextParser : public OutputParser {
 public:
  TextParser(const ToolFormatKind* tools, const ReasoningFormat* reasoning, Request request)
      : request_(std::move(request)), sink_(request_) {
    if (reasoning != nullptr) {
      splitter_.emplace(*reasoning, request_, tools != nullptr,
                        tools != nullptr ? tools->starts : std::vector<std::string_view>());
    }
    if (tools != nullptr && (request_.tools == Request::Tools::kOffered || tools->off == ToolFormatKind::Off::kHidden)) {
      format_ = tools->make();
    }
  }

  Delta push(std::string_view text) override {
    if (splitter_) rest(splitter_->push(text, sink_));
    else rest(text);
    return sink_.take();
  }

  Delta finish(bool cut) override {
    if (splitter_) rest(splitter_->finish(cut, sink_));
    if (format_) format_->finish(cut, sink_);
    sink_.finish();
    return sink_.take();
  }

 private:
  void rest(std::string_view text) {
    if (format_) format_->push(text, sink_);
    else sink_.content(text);
  }

  const Request request_;
  Sink sink_;
  std::optional<ReasoningSplitter> splitter_;
  std::unique_ptr<ToolFormat> format_;
};

template <class Kinds>
auto named(const Kinds& kinds, std::string_view name) -> decltype(kinds.data()) {
  const auto found = std::find_if(kinds.begin(), kinds.end(), [&](const auto& kind) { return kind.name == name; });
  return found == kinds.end() ? nullptr : &*found;
}

template <class Kinds>
Status check(const Kinds& kinds, std::string_view harmony, const std::string& name, const std::string& flag) {
  if (name.empty() || name == harmony || named(kinds, name) != nullptr) return {};
  std::string known(harmony);
  for (const auto& kind : kinds) known += ", " + std::string(kind.name);
  return invalid_argument("--" + flag + ": there is no parser '" + name + "'; there are " + known, flag);
}

}  // namespace

Status check_names(const ParserNames& names) {
  RETURN_IF_ERROR(check(tool_formats(), kHarmonyTools, names.tools, "tool-call-parser"));
  return check(reasoning_formats(), kHarmonyReasoning, names.reasoning, "reasoning-parser");
}

bool reads_special_tokens(const ParserNames& names, const Request& request) {
  if (names.tools == kHarmonyTools || names.reasoning == kHarmonyReasoning || names.reasoning == "mistral") return true;
  const ToolFormatKind* tools = named(tool_formats(), names.tools);
  return tools != nullptr && (request.tools == Request::Tools::kOffered || tools->off == ToolFormatKind::Off::kHidden);
}

std::optional<ReasoningMarks> reasoning_marks(const ParserNames& names, const Request& request) {
  if (names.reasoning == kHarmonyReasoning) return ReasoningMarks{"", "<|channel|>final<|message|>", true};
  const ReasoningFormat* format = named(reasoning_formats(), names.reasoning);
  if (format == nullptr) return std::nullopt;
  const Opening opening = opening_of(*format, request);
  if (opening == Opening::kContent) return std::nullopt;
  return ReasoningMarks{std::string(format->open), std::string(format->close), opening == Opening::kReasoning};
}

Result<std::unique_ptr<OutputParser>> make_parser(const ParserNames& names, Request request) {
  RETURN_IF_ERROR(check_names(names));
  const bool harmony_tools = names.tools == kHarmonyTools;
  const bool harmony_reasoning = names.reasoning == kHarmonyReasoning;
  if (harmony_tools || harmony_reasoning) {
    if (!harmony_tools) request.tools = Request::Tools::kAbsent;
    if (!harmony_reasoning) request.include_reasoning = false;
    return std::unique_ptr<OutputParser>(std::make_unique<HarmonyParser>(std::move(request)));
  }
  return std::unique_ptr<OutputParser>(std::make_unique<TextParser>(
      named(tool_formats(), names.tools), named(reasoning_formats(), names.reasoning), std::move(request)));
}

}  // namespace braid::parse
