// SPDX-License-Identifier: Apache-2.0
// What became of one request, and when: the spans of its trace, and a line of the dashboard.
// Thread rules: the event loop's thread only.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/usage.h"
#include "router/decision.h"
#include "tracing/tracer.h"

namespace braid::gateway {

struct Ending {
  int status = 0;
  int attempts = 1;
  std::optional<TimePoint> first_byte;
  Usage usage;
  std::string why;  // it went wrong, or ""
  std::shared_ptr<const router::Decision> decision;
};

// A call to a server: a prefill or a decode.
struct Leg {
  std::string what;
  std::string endpoint;
  TimePoint begin{};
  TimePoint end{};
  int status = 0;  // 0: no answer
};

struct JourneyRecord {
  std::string id;
  std::string model;
  TimePoint began{};
  TimePoint decided{};
  TimePoint ended{};
  std::vector<Leg> legs;
  Ending ending;
};

class Journey {
 public:
  // Spans are called "SERVICE.request", "SERVICE.decision", "SERVICE.prefill", "SERVICE.decode".
  // `tracer` null: no spans.
  Journey(std::string_view service, tracing::Tracer* tracer, TimePoint began);

  // `line`: "POST /v1/completions".
  void enter(const std::string& id, const std::string& line, std::string_view traceparent);
  void decided(const router::Decision& decision, const std::string& model, TimePoint now);
  void begin_leg(const std::string& what, const std::string& endpoint, TimePoint now);
  // Nothing when none of these runs. `why`: it failed, or "".
  void end_leg(const std::string& what, int status, const std::string& why, TimePoint now);
  // The header for the server of the leg that runs, the last of several. Empty: there is no trace.
  std::string traceparent() const;

  // Ends what runs; the first call counts.
  JourneyRecord end(Ending ending, TimePoint now);

 private:
  std::string name(std::string_view part) const { return service_ + "." + std::string(part); }

  const std::string service_;
  tracing::Tracer* const tracer_;
  JourneyRecord record_;
  std::optional<tracing::Span> request_span_;
  struct Running {
    std::size_t leg;  // of the record
    std::optional<tracing::Span> span;
  };
  std::vector<Running> running_;
};

// The newest journeys.
class JourneyLog {
 public:
  void add(JourneyRecord record);
  // A JSON list, newest first, times in milliseconds from each one's beginning; `age_ms` tells how long ago
  // that was. Decisions tell their scores of the endpoint that was chosen and of the best that was not.
  std::string json(TimePoint now) const;

 private:
  std::deque<JourneyRecord> records_;
};

}  // namespace braid::gateway
