// SPDX-License-Identifier: Apache-2.0
// What a thread did lately, for people to look at: the newest spans, kept always, at the cost of two
// readings of the clock each. Work that only was handed to a device counts until it was handed over.
// Thread rules: one thread writes; recent() from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"

namespace braid {

class Timeline {
 public:
  // `name` and `what` live for ever. `what` says what `number` counts ("layer"); empty: nothing.
  struct Span {
    const char* name = "";
    const char* what = "";
    std::int64_t number = 0;
    TimePoint begin{}, end{};
  };

  explicit Timeline(std::size_t spans = 16384) : ring_(spans) {}

  void add(const Span& span) { open_.push_back(span); }
  // What was added since the last commit() or drop() is seen by others from now on, or never.
  void commit();
  void drop() { open_.clear(); }

  // Those that are kept, in the order they ended.
  std::vector<Span> recent() const;

  // Adds a span from here to its own end; to nothing: does nothing.
  class Scope {
   public:
    explicit Scope(Timeline* timeline, const char* name, const char* what = "", std::int64_t number = 0)
        : timeline_(timeline), span_{name, what, number, timeline ? std::chrono::steady_clock::now() : TimePoint{}, {}} {}
    ~Scope() {
      if (!timeline_) return;
      span_.end = std::chrono::steady_clock::now();
      timeline_->add(span_);
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Timeline* const timeline_;
    Span span_;
  };

 private:
  std::vector<Span> open_;
  mutable std::mutex mutex_;
  std::vector<Span> ring_;
  std::size_t next_ = 0;  // all that ever came
};

// Spans as events of Chrome's trace format, one a line, commas between them; `process` groups them
// under `name`. Times are microseconds of the system's clock, so that hosts can be compared.
std::string trace_events(const std::vector<Timeline::Span>& spans, int process, const std::string& name);

// A whole file of such texts, for chrome://tracing and Perfetto.
std::string trace_file(const std::vector<std::string>& events);

}  // namespace braid
