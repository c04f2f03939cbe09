// SPDX-License-Identifier: Apache-2.0
// Formats that write each parameter of a call in tags of its own: Qwen3-Coder, GLM 4.5, DeepSeek V3.2.
#include <string>

#include "parse/json_text.h"
#include "parse/tool_format.h"

namespace braid::parse {
namespace {

using Markers = std::vector<std::string_view>;

// What comes between calls.
struct Frame {
  Markers begin;                 // outside, begins the section of calls or a call itself
  std::string_view name_begin;   // in front of a name; empty: `begin` is
  Markers name_end;
  std::string_view key_begin, key_end;
  std::string_view value_begin, value_end;  // empty value_begin: the value follows key_end
  Markers call_end;
  std::string_view end;          // of the section; empty: calls stand alone
  bool strips_newlines = false;  // one on each side of a value
  bool attributes = false;       // key is NAME" string="true|false"
  bool drops_unknown = false;    // calls of tools that are not in the request
  bool drops_text_after = false;
};

class ParameterCalls : public ToolFormat {
 public:
  explicit ParameterCalls(const Frame& frame) : frame_(frame) {
    for (const auto& marker : frame_.call_end) after_value_.push_back(marker);
    value_ends_ = after_value_;
    value_ends_.insert(value_ends_.begin(), {frame_.value_end, frame_.key_begin});
    after_value_.insert(after_value_.begin(), frame_.key_begin);
  }

 protected:
  bool step(Sink& sink) override {
    switch (state_) {
      case State::kText: return text(sink);
      case State::kOpening: return opening(sink);
      case State::kName: return name(sink);
      case State::kParameters: return parameters(sink);
      case State::kKey: return key();
      case State::kValueBegin: return value_begin(sink);
      case State::kValue: return value(sink);
    }
    return false;
  }

 private:
  enum class State { kText, kOpening, kName, kParameters, kKey, kValueBegin, kValue };

  bool text(Sink& sink) {
    Markers markers = frame_.begin;
    const auto begins = static_cast<int>(markers.size());
    if (!frame_.end.empty()) markers.push_back(frame_.end);
    const auto found = in_.until(markers);
    if (!(frame_.drops_text_after && sink.has_call())) sink.content(found.before);
    if (found.marker < 0) return false;
    if (found.marker >= begins) return true;
    opened_with_ = frame_.begin[static_cast<std::size_t>(found.marker)];
    state_ = frame_.name_begin.empty() || opened_with_ == frame_.name_begin ? State::kName : State::kOpening;
    return true;
  }

  // Behind `begin`: a call, the end of the section, or something else, which is content.
  bool opening(Sink& sink) {
    in_.skip_space();
    const auto call = in_.begins_with(frame_.name_begin);
    if (call == Scanner::Begins::kYes) state_ = State::kName;
    if (call == Scanner::Begins::kYes) return true;
    const auto end = frame_.end.empty() ? Scanner::Begins::kNo : in_.begins_with(frame_.end);
    if (end == Scanner::Begins::kYes) state_ = State::kText;
    if (end == Scanner::Begins::kYes) return true;
    if (in_.rest().empty() || call == Scanner::Begins::kUnknown || end == Scanner::Begins::kUnknown) return false;
    if (in_.cut() && (frame_.name_begin.starts_with(in_.rest()) || frame_.end.starts_with(in_.rest()))) return false;
    sink.content(opened_with_);
    state_ = State::kText;
    return true;
  }

  bool name(Sink& sink) {
    Markers markers = frame_.name_end;
    const bool bare = !markers.empty() && markers.front() == "\n";
    if (bare) markers.insert(markers.end(), after_value_.begin(), after_value_.end());
    const auto found = in_.whole_until(markers);
    if (found.marker < 0 && !(in_.ended() && !found.before.empty() && !bare)) return false;
    tool_ = std::string(trimmed(found.before));
    first_ = true;
    hidden_ = tool_.empty() || (frame_.drops_unknown && !sink.request().types.has(tool_));
    if (!hidden_) sink.begin_call(tool_);
    state_ = State::kParameters;
    if (found.marker < 0) return false;
    const std::string_view marker = markers[static_cast<std::size_t>(found.marker)];
    if (bare && found.marker > 0) behind(marker, sink);
    return true;
  }

  // Goes on behind a marker that begins a parameter or ends the call.
  void behind(std::string_view marker, Sink& sink) {
    if (marker == frame_.key_begin) state_ = State::kKey;
    else if (marker == frame_.value_end) state_ = State::kParameters;
    else close(sink);
  }

  void close(Sink& sink) {
    if (!hidden_) sink.arguments(first_ ? "{}" : "}");
    hidden_ = true;
    const bool in_section = frame_.begin.front() != frame_.name_begin && !frame_.name_begin.empty() && !frame_.end.empty();
    opened_with_ = {};
    state_ = in_section ? State::kOpening : State::kText;
  }

  bool parameters(Sink& sink) {
    const auto found = in_.until(after_value_);
    if (found.marker >= 0) behind(after_value_[static_cast<std::size_t>(found.marker)], sink);
    else if (in_.ended() && !in_.cut()) close(sink);
    else return false;
    return found.marker >= 0;
  }

  bool key() {
    const auto found = in_.whole_until({frame_.key_end});
    if (found.marker < 0) return false;
    key_ = std::string(trimmed(found.before));
    state_ = frame_.value_begin.empty() ? State::kValue : State::kValueBegin;
    return true;
  }

  bool value_begin(Sink& sink) {
    Markers markers = after_value_;
    markers.insert(markers.begin(), frame_.value_begin);
    const auto found = in_.until(markers);
    if (found.marker < 0) return false;
    if (found.marker == 0) state_ = State::kValue;
    else behind(markers[static_cast<std::size_t>(found.marker)], sink);
    return true;
  }

  bool value(Sink& sink) {
    const auto found = in_.whole_until(value_ends_);
    if (found.marker < 0 && (!in_.ended() || in_.cut())) return false;
    add(found.before, sink);
    if (found.marker >= 0) behind(value_ends_[static_cast<std::size_t>(found.marker)], sink);
    else close(sink);
    return found.marker >= 0;
  }

  void add(std::string_view text, Sink& sink) {
    if (frame_.strips_newlines && text.starts_with("\n")) text.remove_prefix(1);
    if (frame_.strips_newlines && text.ends_with("\n")) text.remove_suffix(1);
    std::string_view name(key_);
    std::string_view attributes;
    if (frame_.attributes && name.find('"') != std::string_view::npos) {
      attributes = name.substr(name.find('"'));
      name = name.substr(0, name.find('"'));
    }
    const bool is_string = attributes.find("string=\"true") != std::string_view::npos;
    const bool is_json = attributes.find("string=\"false") != std::string_view::npos;
    const std::string value = is_string ? quoted(text) : is_json ? json_or_quoted(text) : sink.request().types.value(tool_, name, text);
    if (!hidden_) sink.arguments((first_ ? "{" : ", ") + quoted(name) + ": " + value);
    first_ = false;
  }

  const Frame frame_;
  Markers after_value_, value_ends_;
  State state_ = State::kText;
  std::string_view opened_with_;
  std::string tool_, key_;
  bool first_ = true;
  bool hidden_ = false;
};

const Frame kQwen3Coder = {
    .begin = {"<tool_call>", "<function="},
    .name_begin = "<function=",
    .name_end = {">"},
    .key_begin = "<parameter=",
    .key_end = ">",
    .value_begin = "",
    .value_end = "</parameter>",
    .call_end = {"</function>", "</tool_call>"},
    .end = "</tool_call>",
    .strips_newlines = true,
};

const Frame kGlm45 = {
    .begin = {"<tool_call>"},
    .name_begin = "",
    .name_end = {"\n"},
    .key_begin = "<arg_key>",
    .key_end = "</arg_key>",
    .value_begin = "<arg_value>",
    .value_end = "</arg_value>",
    .call_end = {"</tool_call>"},
    .end = "",
    .drops_unknown = true,
};

Frame dsml(std::string_view begin, std::string_view end) {
  return {
      .begin = {begin},
      .name_begin = "<｜DSML｜invoke name=\"",
      .name_end = {"\">"},
      .key_begin = "<｜DSML｜parameter name=\"",
      .key_end = ">",
      .value_begin = "",
      .value_end = "</｜DSML｜parameter>",
      .call_end = {"</｜DSML｜invoke>", end},
      .end = end,
      .attributes = true,
      .drops_text_after = true,
  };
}

}  // namespace

std::unique_ptr<ToolFormat> make_qwen3_coder() { return std::make_unique<ParameterCalls>(kQwen3Coder); }
std::unique_ptr<ToolFormat> make_glm45() { return std::make_unique<ParameterCalls>(kGlm45); }
std::unique_ptr<ToolFormat> make_deepseek_v32() {
  return std::make_unique<ParameterCalls>(dsml("<｜DSML｜function_calls>", "</｜DSML｜function_calls>"));
}
std::unique_ptr<ToolFormat> make_deepseek_v4() {
  return std::make_unique<ParameterCalls>(dsml("<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>"));
}

}  // namespace braid::parse
