// SPDX-License-Identifier: Apache-2.0
// Formats whose calls stand in a marked section, each with a name and its arguments as they are:
// DeepSeek V3 and V3.1, Kimi K2.
#include <string>

#include "parse/json_text.h"
#include "parse/tool_format.h"

namespace braid::parse {
namespace {

using Markers = std::vector<std::string_view>;

struct Section {
  std::string_view begin, end;
  std::string_view call_begin, call_end;
  std::string_view before_name;     // between call_begin and the name; empty: the name follows at once
  std::string_view name_end;
  bool numbered_ids = false;        // what stands before name_end is an id "functions.NAME:NUMBER"
  bool fenced = false;              // arguments may stand in a Markdown code fence
  bool drops_text_after = false;    // text behind the first section is not content
};

class SectionCalls : public ToolFormat {
 public:
  explicit SectionCalls(const Section& section) : section_(section) {}

 protected:
  bool step(Sink& sink) override {
    switch (state_) {
      case State::kText: return text(sink);
      case State::kSection: return between_calls();
      case State::kHead: return head();
      case State::kName: return name(sink);
      case State::kFence: return fence();
      case State::kArguments: return arguments(sink);
    }
    return false;
  }

 private:
  enum class State { kText, kSection, kHead, kName, kFence, kArguments };

  bool text(Sink& sink) {
    Markers markers = {section_.begin};
    if (seen_section_) markers.insert(markers.end(), {section_.end, section_.call_begin, section_.call_end});
    const auto found = in_.until(markers);
    if (!seen_section_ || !section_.drops_text_after) sink.content(found.before);
    if (found.marker < 0) return false;
    seen_section_ = true;
    if (found.marker == 2) begin_call();
    else if (found.marker == 0) state_ = State::kSection;
    return true;
  }

  bool between_calls() {
    const auto found = in_.until({section_.call_begin, section_.end});
    if (found.marker < 0) return false;
    if (found.marker == 1) state_ = State::kText;
    else begin_call();
    return true;
  }

  void begin_call() { state_ = section_.before_name.empty() ? State::kName : State::kHead; }

  bool head() {
    const auto found = in_.until({section_.before_name, section_.call_end, section_.end});
    if (found.marker < 0) return false;
    state_ = found.marker == 0 ? State::kName : found.marker == 1 ? State::kSection : State::kText;
    return true;
  }

  bool name(Sink& sink) {
    const auto found = in_.whole_until({section_.name_end, section_.call_end, section_.end});
    if (found.marker < 0) return false;
    const bool ended = found.marker > 0;
    if (ended && !section_.fenced) {
      state_ = found.marker == 1 ? State::kSection : State::kText;
      return true;
    }
    begin(std::string(trimmed(found.before)), sink);
    state_ = ended ? (found.marker == 1 ? State::kSection : State::kText) : section_.fenced ? State::kFence : State::kArguments;
    return true;
  }

  void begin(const std::string& head, Sink& sink) {
    held_.clear();
    started_ = false;
    in_fence_ = false;
    hidden_ = head.empty();
    if (!section_.numbered_ids) {
      if (!hidden_) sink.begin_call(head);
      return;
    }
    const std::size_t colon = head.rfind(':');
    std::string_view name = std::string_view(head).substr(0, colon);
    if (name.starts_with("functions.")) name.remove_prefix(10);
    hidden_ = colon == std::string::npos || name.empty();
    if (!hidden_) sink.begin_call(name, head);
  }

  bool fence() {
    in_.skip_space();
    using Begins = Scanner::Begins;
    for (const std::string_view opening : {"```json", "```"}) {
      const Begins begins = in_.begins_with(opening);
      if (begins == Begins::kUnknown) return false;
      in_fence_ = begins == Begins::kYes;
      if (in_fence_) break;
    }
    state_ = State::kArguments;
    return true;
  }

  bool arguments(Sink& sink) {
    const auto found = in_.until({section_.call_end, section_.end});
    held_ += found.before;
    pass_on(found.marker >= 0 || (in_.ended() && !in_.cut()), sink);
    if (found.marker < 0) return false;
    state_ = found.marker == 0 ? State::kSection : State::kText;
    return true;
  }

  // Keeps back what the end of the call would strip: white space and the closing fence.
  void pass_on(bool last, Sink& sink) {
    std::string_view ready(held_);
    if (!started_) {
      while (!ready.empty() && is_space(ready.front())) ready.remove_prefix(1);
    }
    while (!ready.empty() && (is_space(ready.back()) || (in_fence_ && ready.back() == '`'))) ready.remove_suffix(1);
    if (!ready.empty()) {
      const std::size_t end = static_cast<std::size_t>(ready.data() - held_.data()) + ready.size();
      started_ = true;
      if (!hidden_) sink.arguments(ready);
      held_.erase(0, end);
    }
    if (!last || !started_ || hidden_) return;
    std::string_view rest = trimmed(held_);
    if (rest.ends_with("```")) rest.remove_suffix(3);
    sink.arguments(trimmed(rest));
  }

  const Section section_;
  State state_ = State::kText;
  bool seen_section_ = false;
  bool started_ = false;
  bool in_fence_ = false;
  bool hidden_ = false;
  std::string held_;
};

constexpr Section kDeepSeekV31 = {
    .begin = "<｜tool▁calls▁begin｜>",
    .end = "<｜tool▁calls▁end｜>",
    .call_begin = "<｜tool▁call▁begin｜>",
    .call_end = "<｜tool▁call▁end｜>",
    .before_name = "",
    .name_end = "<｜tool▁sep｜>",
};

constexpr Section kDeepSeekV3 = {
    .begin = kDeepSeekV31.begin,
    .end = kDeepSeekV31.end,
    .call_begin = kDeepSeekV31.call_begin,
    .call_end = kDeepSeekV31.call_end,
    .before_name = "<｜tool▁sep｜>",
    .name_end = "\n",
    .fenced = true,
};

constexpr Section kKimiK2 = {
    .begin = "<|tool_calls_section_begin|>",
    .end = "<|tool_calls_section_end|>",
    .call_begin = "<|tool_call_begin|>",
    .call_end = "<|tool_call_end|>",
    .before_name = "",
    .name_end = "<|tool_call_argument_begin|>",
    .numbered_ids = true,
    .drops_text_after = true,
};

}  // namespace

std::unique_ptr<ToolFormat> make_deepseek_v3() { return std::make_unique<SectionCalls>(kDeepSeekV3); }
std::unique_ptr<ToolFormat> make_deepseek_v31() { return std::make_unique<SectionCalls>(kDeepSeekV31); }
std::unique_ptr<ToolFormat> make_kimi_k2() { return std::make_unique<SectionCalls>(kKimiK2); }

}  // namespace braid::parse
