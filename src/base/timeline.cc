// SPDX-License-Identifier: Apache-2.0
#include "base/timeline.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace braid {
namespace {

double microseconds(Duration d) { return std::chrono::duration<double, std::micro>(d).count(); }

}  // namespace

void Timeline::commit() {
  std::lock_guard lock(mutex_);
  for (const Span& span : open_) ring_[next_++ % ring_.size()] = span;
  open_.clear();
}

std::vector<Timeline::Span> Timeline::recent() const {
  std::lock_guard lock(mutex_);
  std::vector<Span> spans;
  for (std::size_t i = next_ - std::min(next_, ring_.size()); i < next_; ++i) spans.push_back(ring_[i % ring_.size()]);
  return spans;
}

std::string trace_events(const std::vector<Timeline::Span>& spans, int process, const std::string& name) {
  using Json = nlohmann::ordered_json;
  const Duration ahead = std::chrono::system_clock::now().time_since_epoch() - std::chrono::steady_clock::now().time_since_epoch();
  std::string text = Json{{"name", "process_name"}, {"ph", "M"}, {"pid", process}, {"args", {{"name", name}}}}.dump();
  for (const Timeline::Span& span : spans) {
    Json event{{"name", span.name}, {"ph", "X"}, {"pid", process}, {"tid", 0},
               {"ts", microseconds(span.begin.time_since_epoch() + ahead)}, {"dur", microseconds(span.end - span.begin)}};
    if (*span.what) event["args"][span.what] = span.number;
    text += ",\n" + event.dump();
  }
  return text;
}

std::string trace_file(const std::vector<std::string>& events) {
  std::string all;
  for (const std::string& text : events) {
    if (!text.empty()) all += (all.empty() ? "" : ",\n") + text;
  }
  return "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n" + all + "\n]}\n";
}

}  // namespace braid
