// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "parse/scanner.h"
#include "parse/sink.h"

namespace braid::parse {

// How a family marks its reasoning.
struct ReasoningFormat {
  std::string_view name;
  std::string_view open, close;
  std::string_view call_begin;  // ends reasoning that is not closed; empty: nothing does
  bool presumed = true;         // text without tags before it is reasoning
  bool keeps_later_opens = false;
  bool by_prompt = true;        // a tag at the prompt's end opens it
  bool asked_for = false;       // only where the request turns thinking on
};

const std::vector<ReasoningFormat>& reasoning_formats();

// How the output of a request begins.
enum class Opening {
  kContent,    // reasoning is over, or was not wanted
  kReasoning,  // the prompt has opened it
  kPresumed,   // what stands before a closing tag is reasoning, with or without an opening one
  kTagged,     // reasoning only behind an opening tag
};
Opening opening_of(const ReasoningFormat& format, const Request& request);

// Splits an output into reasoning, which goes to the sink, and the rest, which it returns.
class ReasoningSplitter {
 public:
  // `call_starts`: the markers of the tool format. With any parser of tools (`may_call`), text of
  // which nothing tells whether it is reasoning is kept back until a tag, a call or the end tells.
  ReasoningSplitter(const ReasoningFormat& format, const Request& request, bool may_call,
                    std::vector<std::string_view> call_starts);

  std::string push(std::string_view text, Sink& sink);
  std::string finish(bool cut, Sink& sink);

 private:
  enum class State { kUndecided, kBefore, kReasoning, kClosed, kContent };

  std::string read(Sink& sink);
  bool undecided(Sink& sink, std::string& content);
  bool before(std::string& content);
  bool reasoning(Sink& sink, std::string& content);
  bool closed();  // with a parser of tools: what closes reasoning again right behind its end is dropped

  const ReasoningFormat& format_;
  const std::vector<std::string_view> call_starts_;
  const bool may_call_;
  Scanner in_;
  State state_;
  bool opened_ = false;
};

}  // namespace braid::parse
