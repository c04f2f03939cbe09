// SPDX-License-Identifier: Apache-2.0
#include "parse/sink.h"

#include <utility>

#include "parse/json_text.h"

namespace braid::parse {

void Sink::content(std::string_view text) {
  std::size_t end = text.size();
  while (end > 0 && is_space(text[end - 1])) --end;
  if (end > 0) {
    delta_.content += std::exchange(space_, {});
    delta_.content += text.substr(0, end);
  }
  space_ += text.substr(end);
}

void Sink::reasoning(std::string_view text) {
  if (request_.include_reasoning) delta_.reasoning += text;
}

bool Sink::shows_call() const {
  return request_.tools == Request::Tools::kOffered && begun_ > 0 && (request_.parallel_calls || begun_ == 1);
}

void Sink::begin_call(std::string_view name, std::string id) {
  ++begun_;
  space_.clear();
  if (!shows_call()) return;
  if (id.empty()) id = request_.call_id_prefix + std::to_string(begun_ - 1);
  delta_.calls.push_back({begun_ - 1, std::move(id), std::string(name), {}});
}

void Sink::arguments(std::string_view text) {
  if (text.empty() || !shows_call()) return;
  if (delta_.calls.empty() || delta_.calls.back().index != begun_ - 1) delta_.calls.push_back({begun_ - 1, {}, {}, {}});
  delta_.calls.back().arguments += text;
}

void Sink::call(std::string_view name, std::string_view text) {
  begin_call(name);
  arguments(text);
}

void Sink::finish() {
  if (begun_ == 0) delta_.content += space_;
  space_.clear();
}

void append(Delta& delta, Delta&& later) {
  delta.content += later.content;
  delta.reasoning += later.reasoning;
  for (CallDelta& call : later.calls) {
    if (!delta.calls.empty() && delta.calls.back().index == call.index) delta.calls.back().arguments += call.arguments;
    else delta.calls.push_back(std::move(call));
  }
}

Delta Sink::take() { return std::exchange(delta_, {}); }

}  // namespace braid::parse
