// SPDX-License-Identifier: Apache-2.0
// Calls as a JSON list that is the whole output, [{"name": …, "parameters": …}, …]: for models without
// a format of their own.
#include <string>

#include "parse/json_text.h"
#include "parse/tool_format.h"

namespace braid::parse {
namespace {

class JsonList : public ToolFormat {
 protected:
  bool step(Sink& sink) override {
    switch (state_) {
      case State::kStart: return start();
      case State::kBetween: return between();
      case State::kObject: return object(sink);
      case State::kText:
        sink.content(in_.rest());
        in_.consume(in_.rest().size());
        return false;
      case State::kAfter: in_.consume(in_.rest().size()); return false;
    }
    return false;
  }

 private:
  enum class State { kStart, kBetween, kObject, kText, kAfter };

  bool start() {
    const std::size_t first = in_.rest().find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos) {
      if (in_.ended()) state_ = State::kText;
      return in_.ended();
    }
    state_ = in_.rest()[first] == '[' ? State::kBetween : State::kText;
    if (state_ == State::kBetween) lead_ = in_.rest().substr(0, first + 1), in_.consume(first + 1);
    return true;
  }

  bool between() {
    while (!in_.rest().empty() && (is_space(in_.rest().front()) || in_.rest().front() == ',')) in_.consume(1);
    if (in_.rest().empty()) return false;
    state_ = in_.rest().front() == '{' ? State::kObject : State::kAfter;
    return true;
  }

  bool object(Sink& sink) {
    const std::size_t taken = depth_.take(in_.rest());
    call_ += in_.rest().substr(0, taken);
    in_.consume(taken);
    if (!depth_.closed() && !in_.ended()) return false;
    const CallObject call = read_call(call_, {"parameters", "arguments"});
    const bool named = call.name && !call.name->empty() && (call.valid || in_.cut());
    if (named) sink.call(*call.name, call.arguments.value_or(call.valid ? "{}" : ""));
    else if (!sink.has_call()) sink.content(lead_ + call_);
    state_ = named ? State::kBetween : sink.has_call() ? State::kAfter : State::kText;
    call_.clear();
    depth_ = {};
    return true;
  }

  State state_ = State::kStart;
  std::string lead_;  // what stands before the first call
  std::string call_;
  BracketDepth depth_;
};

}  // namespace

std::unique_ptr<ToolFormat> make_json_list() { return std::make_unique<JsonList>(); }

}  // namespace braid::parse
