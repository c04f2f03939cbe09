// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "parse/scanner.h"
#include "parse/sink.h"

namespace braid::parse {

// gpt-oss's format: the output is a sequence of messages, each with a channel and perhaps a
// recipient. Channel "final" and preambles are content, "analysis" is reasoning, and what is
// addressed to a function is a call.
class Harmony {
 public:
  void push(std::string_view text, Sink& sink);
  void finish(bool cut, Sink& sink);

 private:
  enum class State { kStart, kHeader, kBody };
  enum class Kind { kDropped, kContent, kReasoning, kCall };

  bool step(Sink& sink);
  bool start();
  bool header(Sink& sink);
  bool body(Sink& sink);
  void open(std::string_view header, Sink& sink);
  void add(std::string_view text, Sink& sink);

  Scanner in_;
  State state_ = State::kStart;
  Kind kind_ = Kind::kContent;
  bool fresh_ = false;  // nothing of this message has been passed on
  bool any_content_ = false;
  bool any_reasoning_ = false;
  std::string space_;   // of a call's arguments, while it is open whether more follows
};

}  // namespace braid::parse
