// SPDX-License-Identifier: Apache-2.0
// Formats that write a call as a JSON object: Hermes, Llama, Mistral. An object is a call only when
// all of it is there and is JSON; a cut one counts as far as it has come.
#include <algorithm>
#include <string>

#include "parse/json_text.h"
#include "parse/tool_format.h"

namespace braid::parse {
namespace {

bool is_call(const CallObject& call) { return call.valid && call.name && !call.name->empty(); }

void report_cut(std::string_view text, std::initializer_list<std::string_view> keys, Sink& sink) {
  const CallObject call = read_call(text, keys);
  if (call.name && !call.name->empty()) sink.call(*call.name, call.arguments.value_or(""));
}

class Hermes : public ToolFormat {
 protected:
  bool step(Sink& sink) override { return inside_ ? body(sink) : text(sink); }

 private:
  static constexpr std::string_view kBegin = "<tool_call>";
  static constexpr std::string_view kEnd = "</tool_call>";

  bool text(Sink& sink) {
    const auto found = in_.until({kBegin});
    if (!sink.has_call()) sink.content(found.before);
    inside_ = found.marker == 0;
    return inside_;
  }

  bool body(Sink& sink) {
    const auto found = in_.whole_until({kEnd});
    if (found.marker < 0 && !in_.ended()) return false;
    body_ += found.before;
    const bool ended = found.marker < 0;
    depth_.take(found.before);
    if (!ended && !depth_.closed() && depth_.in_string()) {
      body_ += kEnd;
      depth_.take(kEnd);
      return true;
    }
    settle(ended, sink);
    return !ended;
  }

  void settle(bool ended, Sink& sink) {
    const CallObject call = read_call(body_, {"arguments"});
    if (is_call(call)) sink.call(*call.name, call.arguments.value_or("{}"));
    else if (ended && in_.cut()) report_cut(body_, {"arguments"}, sink);
    else sink.content(std::string(kBegin) + body_ + std::string(ended ? "" : kEnd));
    inside_ = false;
    body_.clear();
    depth_ = {};
  }

  bool inside_ = false;
  std::string body_;
  BracketDepth depth_;
};

// Calls are the whole output, one object after the other.
class LlamaJson : public ToolFormat {
 protected:
  bool step(Sink& sink) override {
    switch (state_) {
      case State::kStart: return start(sink);
      case State::kObject: return object(sink);
      case State::kBetween: return between();
      case State::kText: return text(sink);
      case State::kAfter: in_.consume(in_.rest().size()); return false;
    }
    return false;
  }

 private:
  enum class State { kStart, kObject, kBetween, kText, kAfter };
  static constexpr std::string_view kTag = "<|python_tag|>";

  bool start(Sink& sink) {
    while (!in_.rest().empty() && is_space(in_.rest().front())) {
      sink.content(in_.rest().substr(0, 1));
      in_.consume(1);
    }
    if (in_.rest().empty()) return false;
    const auto tag = in_.begins_with(kTag);
    if (tag == Scanner::Begins::kUnknown) return false;
    if (tag == Scanner::Begins::kNo) state_ = in_.rest().front() == '{' ? State::kObject : State::kText;
    return true;
  }

  bool object(Sink& sink) {
    const std::size_t taken = depth_.take(in_.rest());
    object_ += in_.rest().substr(0, taken);
    in_.consume(taken);
    if (!depth_.closed() && !in_.ended()) return false;
    const CallObject call = read_call(object_, {"parameters", "arguments"});
    if (is_call(call) && call.arguments) {
      sink.call(*call.name, *call.arguments);
      state_ = State::kBetween;
    } else if (in_.cut() && !depth_.closed()) {
      report_cut(object_, {"parameters", "arguments"}, sink);
      if (!sink.has_call()) sink.content(object_);
      state_ = State::kAfter;
    } else {
      if (!sink.has_call()) sink.content(object_);
      state_ = sink.has_call() ? State::kAfter : State::kText;
    }
    object_.clear();
    depth_ = {};
    return true;
  }

  bool between() {
    while (!in_.rest().empty() && (is_space(in_.rest().front()) || in_.rest().front() == ';' || in_.rest().front() == ',')) {
      in_.consume(1);
    }
    if (in_.rest().empty()) return false;
    state_ = in_.rest().front() == '{' ? State::kObject : State::kAfter;
    return true;
  }

  bool text(Sink& sink) {
    const auto found = in_.until({kTag});
    sink.content(found.before);
    return found.marker >= 0;
  }

  State state_ = State::kStart;
  std::string object_;
  BracketDepth depth_;
};

// Both layouts: [TOOL_CALLS] [{…}, …] and [TOOL_CALLS]NAME[ARGS]{…}, which repeats.
class Mistral : public ToolFormat {
 protected:
  bool step(Sink& sink) override {
    switch (state_) {
      case State::kText: return text(sink);
      case State::kStart: return start();
      case State::kList: return list(sink);
      case State::kName: return name(sink);
      case State::kId: return id();
      case State::kArguments: return arguments(sink);
    }
    return false;
  }

 private:
  enum class State { kText, kStart, kList, kName, kId, kArguments };
  static constexpr std::string_view kBegin = "[TOOL_CALLS]";
  static constexpr std::string_view kArgs = "[ARGS]";
  static constexpr std::string_view kId = "[CALL_ID]";

  bool text(Sink& sink) {
    const auto found = in_.until({kBegin});
    sink.content(found.before);
    return begin(found.marker == 0);
  }

  bool begin(bool marked) {
    if (!marked) return false;
    state_ = State::kStart;
    depth_ = {};
    return true;
  }

  bool start() {
    in_.skip_space();
    if (in_.rest().empty()) return false;
    const auto again = in_.begins_with(kBegin);
    if (again == Scanner::Begins::kUnknown) return false;
    if (again == Scanner::Begins::kYes) return true;
    state_ = in_.rest().front() == '[' ? State::kList : State::kName;
    return true;
  }

  bool list(Sink& sink) {
    const std::size_t taken = depth_.take(in_.rest());
    list_ += in_.rest().substr(0, taken);
    in_.consume(taken);
    if (!depth_.closed() && !in_.ended()) return false;
    settle(sink);
    state_ = State::kText;
    list_.clear();
    depth_ = {};
    return !in_.empty();
  }

  void settle(Sink& sink) {
    const bool cut = in_.cut() && !depth_.closed();
    if (sink.request().tools == Request::Tools::kDeclined) return sink.content(std::string(kBegin) + " " + list_);
    std::vector<std::string> calls = split();
    const bool all = is_json(list_) && std::all_of(calls.begin(), calls.end(), [](const std::string& text) {
      return is_call(read_call(text, {"arguments"}));
    });
    if (!all && !cut) return sink.content(list_);
    for (const auto& text : calls) {
      const CallObject call = read_call(text, {"arguments"});
      if (is_call(call)) sink.call(*call.name, call.arguments.value_or("{}"));
      else report_cut(text, {"arguments"}, sink);
    }
  }

  // The objects of the list; the last one may be cut.
  std::vector<std::string> split() const {
    std::vector<std::string> objects;
    std::string_view rest = std::string_view(list_).substr(1);
    while (rest.find('{') != std::string_view::npos) {
      rest.remove_prefix(rest.find('{'));
      BracketDepth depth;
      const std::size_t taken = depth.take(rest);
      objects.emplace_back(rest.substr(0, taken));
      rest.remove_prefix(taken);
    }
    return objects;
  }

  bool name(Sink& sink) {
    const auto found = in_.whole_until({kArgs, kId, kBegin, "{"});
    if (found.marker < 0 && !in_.ended()) return false;
    const std::string name(trimmed(found.before));
    named_ = !name.empty();
    if (named_) sink.begin_call(name);
    if (found.marker < 0) return false;
    if (found.marker == 2) return begin(true);
    state_ = found.marker == 1 ? State::kId : State::kArguments;
    if (found.marker == 3) open_brace(sink);
    return true;
  }

  void open_brace(Sink& sink) {
    depth_.take("{");
    if (named_) sink.arguments("{");
  }

  bool id() {
    const auto found = in_.until({kArgs, kBegin});
    if (found.marker == 1) return begin(true);
    if (found.marker == 0) state_ = State::kArguments;
    return found.marker == 0;
  }

  bool arguments(Sink& sink) {
    const auto found = in_.until({kBegin});
    std::string_view text(found.before);
    if (!depth_.closed()) {
      text = text.substr(0, depth_.take(text));
      if (named_) sink.arguments(text);
    }
    return begin(found.marker == 0);
  }

  State state_ = State::kText;
  std::string list_;
  bool named_ = false;
  BracketDepth depth_;
};

}  // namespace

std::unique_ptr<ToolFormat> make_hermes() { return std::make_unique<Hermes>(); }
std::unique_ptr<ToolFormat> make_llama_json() { return std::make_unique<LlamaJson>(); }
std::unique_ptr<ToolFormat> make_mistral() { return std::make_unique<Mistral>(); }

}  // namespace braid::parse
