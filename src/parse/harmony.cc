// SPDX-License-Identifier: Apache-2.0
#include "parse/harmony.h"

#include "parse/json_text.h"

namespace braid::parse {
namespace {

constexpr std::string_view kStart = "<|start|>";
constexpr std::string_view kChannel = "<|channel|>";
constexpr std::string_view kMessage = "<|message|>";
constexpr std::string_view kConstrain = "<|constrain|>";
constexpr std::string_view kFunctions = "functions.";

// The word behind `mark`, which ends at white space or the next marker.
std::string_view word_behind(std::string_view header, std::string_view mark) {
  const std::size_t at = header.find(mark);
  if (at == std::string_view::npos) return {};
  const std::string_view rest = header.substr(at + mark.size());
  return rest.substr(0, rest.find_first_of(" \t\r\n<"));
}

}  // namespace

void Harmony::push(std::string_view text, Sink& sink) {
  in_.push(text);
  while (step(sink)) {
  }
}

void Harmony::finish(bool cut, Sink& sink) {
  in_.end(cut);
  while (step(sink)) {
  }
}

bool Harmony::step(Sink& sink) {
  switch (state_) {
    case State::kStart: return start();
    case State::kHeader: return header(sink);
    case State::kBody: return body(sink);
  }
  return false;
}

// The prompt has begun a message; an output that begins with neither channel nor recipient is plain.
bool Harmony::start() {
  if (in_.rest().empty()) return false;
  for (const std::string_view mark : {kChannel, kStart, kMessage, kConstrain, std::string_view(" to="), std::string_view("to=")}) {
    const std::string_view here = in_.rest().substr(0, mark.size());
    if (!mark.starts_with(here)) continue;
    if (here != mark && !in_.ended()) return false;
    if (here == mark || in_.cut()) state_ = State::kHeader;
  }
  if (state_ == State::kStart) state_ = State::kBody;
  return true;
}

bool Harmony::header(Sink& sink) {
  const auto found = in_.whole_until({kMessage});
  if (found.marker < 0) return false;
  open(found.before, sink);
  state_ = State::kBody;
  return true;
}

void Harmony::open(std::string_view header, Sink& sink) {
  header = header.substr(header.rfind(kStart) == std::string_view::npos ? 0 : header.rfind(kStart));
  const std::string_view channel = word_behind(header, kChannel);
  std::string_view recipient = word_behind(header, "to=");
  const bool function = recipient.starts_with(kFunctions);
  if (function) recipient.remove_prefix(kFunctions.size());
  fresh_ = true;
  space_.clear();
  if (!recipient.empty() && (function || channel != "analysis")) {
    kind_ = Kind::kCall;
    sink.begin_call(recipient);
  } else if (channel == "analysis") {
    kind_ = Kind::kReasoning;
  } else {
    kind_ = channel == "final" || channel == "commentary" || channel.empty() ? Kind::kContent : Kind::kDropped;
  }
}

bool Harmony::body(Sink& sink) {
  const auto found = in_.until({"<|end|>", "<|call|>", "<|return|>", kStart, kChannel});
  add(found.before, sink);
  if (found.marker < 0) return false;
  state_ = State::kHeader;
  if (found.marker == 4) in_.unread(kChannel);
  return true;
}

void Harmony::add(std::string_view text, Sink& sink) {
  if (text.empty()) return;
  bool* const any = kind_ == Kind::kContent ? &any_content_ : &any_reasoning_;
  const bool joins = fresh_ && *any;
  if (kind_ == Kind::kContent) sink.content(joins ? "\n" + std::string(text) : std::string(text));
  if (kind_ == Kind::kReasoning) sink.reasoning(joins ? "\n" + std::string(text) : std::string(text));
  if (kind_ == Kind::kContent || kind_ == Kind::kReasoning) *any = true;
  if (kind_ == Kind::kCall) {
    const std::string_view all = trimmed(text);
    const std::size_t from = text.find_first_not_of(" \t\r\n");
    if (all.empty()) {
      if (!fresh_) space_ += text;
      return;
    }
    if (!fresh_) sink.arguments(space_ + std::string(text.substr(0, from)));
    sink.arguments(all);
    space_ = text.substr(from + all.size());
  }
  fresh_ = false;
}

}  // namespace braid::parse
