// SPDX-License-Identifier: Apache-2.0
#include "parse/reasoning.h"

#include <utility>

#include "parse/json_text.h"

namespace braid::parse {

const std::vector<ReasoningFormat>& reasoning_formats() {
  static const std::vector<ReasoningFormat> formats = {
      {.name = "deepseek_r1", .open = "<think>", .close = "</think>", .call_begin = "", .keeps_later_opens = true},
      {.name = "deepseek_v3", .open = "<think>", .close = "</think>", .call_begin = "", .keeps_later_opens = true, .asked_for = true},
      {.name = "deepseek_v4", .open = "<think>", .close = "</think>", .call_begin = "<｜DSML｜tool_calls>"},
      {.name = "qwen3", .open = "<think>", .close = "</think>", .call_begin = "<tool_call>"},
      {.name = "kimi_k2", .open = "<think>", .close = "</think>", .call_begin = "<|tool_calls_section_begin|>"},
      {.name = "glm45", .open = "<think>", .close = "</think>", .call_begin = "<tool_call>"},
      {.name = "glm47", .open = "<think>", .close = "</think>", .call_begin = "<tool_call>"},
      {.name = "mistral", .open = "[THINK]", .close = "[/THINK]", .call_begin = "[TOOL_CALLS]", .presumed = false, .by_prompt = false},
  };
  return formats;
}

Opening opening_of(const ReasoningFormat& format, const Request& request) {
  const std::string_view prompt = trimmed(request.prompt);
  if (prompt.ends_with(format.close) || !request.thinking.value_or(true)) return Opening::kContent;
  if (format.by_prompt && prompt.ends_with(format.open)) return Opening::kReasoning;
  if (format.asked_for && !request.thinking.value_or(false)) return Opening::kContent;
  return format.presumed ? Opening::kPresumed : Opening::kTagged;
}

ReasoningSplitter::ReasoningSplitter(const ReasoningFormat& format, const Request& request, bool may_call,
                                     std::vector<std::string_view> call_starts)
    : format_(format), call_starts_(std::move(call_starts)), may_call_(may_call) {
  switch (opening_of(format, request)) {
    case Opening::kContent: state_ = State::kContent; break;
    case Opening::kReasoning: state_ = State::kReasoning; break;
    case Opening::kTagged: state_ = State::kBefore; break;
    case Opening::kPresumed: state_ = may_call ? State::kUndecided : State::kReasoning; break;
  }
}

std::string ReasoningSplitter::push(std::string_view text, Sink& sink) {
  in_.push(text);
  return read(sink);
}

std::string ReasoningSplitter::finish(bool cut, Sink& sink) {
  in_.end(cut);
  return read(sink);
}

std::string ReasoningSplitter::read(Sink& sink) {
  std::string content;
  bool more = true;
  while (more) {
    switch (state_) {
      case State::kUndecided: more = undecided(sink, content); break;
      case State::kBefore: more = before(content); break;
      case State::kReasoning: more = reasoning(sink, content); break;
      case State::kClosed: more = closed(); break;
      case State::kContent:
        content += in_.rest();
        in_.consume(in_.rest().size());
        more = false;
    }
  }
  return content;
}

bool ReasoningSplitter::undecided(Sink& sink, std::string& content) {
  std::vector<std::string_view> markers = {format_.open, format_.close};
  markers.insert(markers.end(), call_starts_.begin(), call_starts_.end());
  const auto found = in_.whole_until(markers);
  if (found.marker < 0 || found.marker > 1) content += found.before;
  else sink.reasoning(found.before);
  if (found.marker < 0) return false;
  opened_ = found.marker == 0;
  state_ = opened_ ? State::kReasoning : State::kContent;
  if (found.marker > 1) content += markers[static_cast<std::size_t>(found.marker)];
  return true;
}

bool ReasoningSplitter::before(std::string& content) {
  const auto found = in_.until({format_.open, format_.close});
  content += found.before;
  if (found.marker == 0) state_ = State::kReasoning;
  return found.marker >= 0;
}

bool ReasoningSplitter::reasoning(Sink& sink, std::string& content) {
  std::vector<std::string_view> markers = {format_.close, format_.open};
  if (!format_.call_begin.empty()) markers.push_back(format_.call_begin);
  const auto found = in_.until(markers);
  sink.reasoning(found.before);
  if (found.marker < 0) return false;
  if (found.marker == 1) {
    if (opened_ && format_.keeps_later_opens) sink.reasoning(format_.open);
    opened_ = true;
    return true;
  }
  const bool closed = found.marker == 0 && may_call_ && !format_.keeps_later_opens;
  state_ = closed ? State::kClosed : State::kContent;
  if (found.marker == 2) content += format_.call_begin;
  return true;
}

bool ReasoningSplitter::closed() {
  const std::string_view ahead = trimmed(in_.rest());
  if (!in_.ended() && ahead.size() < format_.close.size() && format_.close.starts_with(ahead)) return false;
  if (ahead.starts_with(format_.close)) {
    in_.consume(static_cast<std::size_t>(ahead.data() - in_.rest().data()) + format_.close.size());
  } else {
    state_ = State::kContent;
  }
  return true;
}

}  // namespace braid::parse
