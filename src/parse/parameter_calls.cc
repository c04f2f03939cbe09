// SPDX-License-Identifier: Apache-2.0
// Formats that write each parameter of a call in tags of its own: Qwen3-Coder, GLM 4.5, DeepSeek V3.2.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>

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
  bool key_ends_value = true;    // a key in front of which no value has ended ends it
  bool strips_newlines = false;  // one on each side of a value
  bool attributes = false;       // key is NAME" string="true|false"
  bool drops_unknown = false;    // calls of tools that are not in the request
  bool drops_text_after = false;
};

class ParameterCalls : public ToolFormat {
 public:
  explicit ParameterCalls(const Frame& frame) : frame_(frame) {
    after_value_ = frame_.call_end;
    after_value_.insert(after_value_.begin(), frame_.key_begin);
    value_ends_ = frame_.call_end;
    value_ends_.insert(value_ends_.begin(), frame_.value_end);
    if (frame_.key_ends_value) value_ends_.push_back(frame_.key_begin);
    behind_call_ = frame_.call_end;
    behind_call_.insert(behind_call_.end(), frame_.begin.begin(), frame_.begin.end());
    if (!frame_.name_begin.empty()) behind_call_.push_back(frame_.name_begin);
    if (!frame_.end.empty()) behind_call_.push_back(frame_.end);
    strays_ = frame_.call_end;
    strays_.push_back(frame_.value_end);
    strays_.insert(strays_.end(), frame_.begin.begin(), frame_.begin.end());
  }

 protected:
  bool step(Sink& sink) override {
    switch (state_) {
      case State::kText: return text(sink);
      case State::kOpening: return opening(sink);
      case State::kName: return name(sink);
      case State::kParameters: return parameters(sink);
      case State::kKey: return key(sink);
      case State::kValueBegin: return value_begin(sink);
      case State::kValue: return value(sink);
      case State::kCallEnd: return call_end(sink);
    }
    return false;
  }

 private:
  enum class State { kText, kOpening, kName, kParameters, kKey, kValueBegin, kValue, kCallEnd };

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
    const std::string_view rest = in_.rest(), ahead = trimmed(rest);
    if (ahead.empty()) return false;
    const auto skip = [&] { in_.consume(static_cast<std::size_t>(ahead.data() - rest.data())); };
    const auto begins = [&](std::string_view marker) { return !marker.empty() && ahead.starts_with(marker); };
    const auto may_begin = [&](std::string_view marker) { return ahead.size() < marker.size() && marker.starts_with(ahead); };
    if (begins(frame_.name_begin)) return skip(), in_.consume(frame_.name_begin.size()), state_ = State::kName, true;
    if (begins(frame_.end)) return skip(), in_.consume(frame_.end.size()), state_ = State::kText, true;
    const auto stray = std::find_if(strays_.begin(), strays_.end(), begins);
    if (stray != strays_.end()) return skip(), in_.consume(stray->size()), true;
    if (may_begin(frame_.name_begin) || may_begin(frame_.end) || std::any_of(strays_.begin(), strays_.end(), may_begin)) return false;
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
    value_.clear();
    tool_ = std::string(trimmed(found.before));
    first_ = true;
    hidden_ = tool_.empty() || (frame_.drops_unknown && !sink.request().types.has(tool_));
    if (!hidden_) sink.begin_call(tool_);
    state_ = State::kParameters;
    if (found.marker < 0) return unfinished(sink);
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

  // The output has ended within the call.
  bool unfinished(Sink& sink) {
    if (in_.ended() && !in_.cut()) close(sink);
    return false;
  }

  bool parameters(Sink& sink) {
    const auto found = in_.until(after_value_);
    if (found.marker < 0) return unfinished(sink);
    behind(after_value_[static_cast<std::size_t>(found.marker)], sink);
    return true;
  }

  bool key(Sink& sink) {
    const auto found = in_.whole_until({frame_.key_end});
    if (found.marker < 0) return unfinished(sink);
    key_ = std::string(trimmed(found.before));
    state_ = frame_.value_begin.empty() ? State::kValue : State::kValueBegin;
    return true;
  }

  bool value_begin(Sink& sink) {
    Markers markers = after_value_;
    markers.insert(markers.begin(), frame_.value_begin);
    const auto found = in_.until(markers);
    if (found.marker < 0) return unfinished(sink);
    if (found.marker == 0) state_ = State::kValue;
    else behind(markers[static_cast<std::size_t>(found.marker)], sink);
    return true;
  }

  bool value(Sink& sink) {
    const auto found = in_.until(value_ends_);
    value_ += found.before;
    if (found.marker < 0) return in_.ended() && !in_.cut() && value_without_end(sink);
    ended_with_ = value_ends_[static_cast<std::size_t>(found.marker)];
    if (std::find(frame_.call_end.begin(), frame_.call_end.end(), ended_with_) != frame_.call_end.end()) {
      state_ = State::kCallEnd;
      return true;
    }
    add(std::exchange(value_, {}), sink);
    behind(ended_with_, sink);
    return true;
  }

  // A marker that ends calls has come within a value. It is the end of the call if only such markers
  // come behind it, up to the next call or the end of the output; else it belongs to the value.
  bool call_end(Sink& sink) {
    const std::string_view ahead = trimmed(in_.rest());
    const auto begins = [&](std::string_view marker) { return ahead.starts_with(marker); };
    const auto may_begin = [&](std::string_view marker) { return ahead.size() < marker.size() && marker.starts_with(ahead); };
    const bool ends = ahead.empty() || std::any_of(behind_call_.begin(), behind_call_.end(), begins);
    if (!in_.ended() && (ahead.empty() || (!ends && std::any_of(behind_call_.begin(), behind_call_.end(), may_begin)))) return false;
    if (ends) {
      add(std::exchange(value_, {}), sink);
      close(sink);
    } else {
      if (!first_end_) first_end_ = {value_.size(), ended_with_.size()};
      value_ += ended_with_;
      state_ = State::kValue;
    }
    return true;
  }

  // Nothing has ended the value; the first marker that could have ended the call did.
  bool value_without_end(Sink& sink) {
    const auto end = std::exchange(first_end_, std::nullopt);
    std::string value = std::exchange(value_, {});
    if (end) in_.put_back(value.substr(end->at + end->size));
    add(end ? value.substr(0, end->at) : value, sink);
    close(sink);
    return end.has_value();
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
    first_end_.reset();
  }

  struct Place { std::size_t at, size; };

  const Frame frame_;
  Markers after_value_, value_ends_, behind_call_, strays_;
  State state_ = State::kText;
  std::string_view opened_with_, ended_with_;
  std::string tool_, key_, value_;
  std::optional<Place> first_end_;  // in value_: a marker that would have ended the call
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
    .key_ends_value = false,
    .drops_unknown = true,
};

Frame dsml(std::string_view begin, std::string_view end) {
  return {
      .begin = {begin, "<｜DSML｜invoke name=\""},
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
