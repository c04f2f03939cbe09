// SPDX-License-Identifier: Apache-2.0
// Where a request goes, and why. A decision carries its whole explanation as numbers; text and JSON
// are made from it only on demand.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "router/endpoint.h"
#include "router/request.h"

namespace braid::router {

// Why a request was dropped, as the header x-llm-d-request-dropped-reason says it.
namespace dropped {
inline constexpr std::string_view kHeader = "x-llm-d-request-dropped-reason";
inline constexpr std::string_view kSaturated = "rejected-saturated";
inline constexpr std::string_view kNoEndpoints = "rejected-no-endpoints";
inline constexpr std::string_view kTtlExpired = "rejected-ttl-expired";
inline constexpr std::string_view kCancelled = "rejected-context-cancelled";
inline constexpr std::string_view kShuttingDown = "rejected-shutting-down";
inline constexpr std::string_view kEvicted = "evicted";
inline constexpr std::string_view kQueuePressure = "evicted-queue-pressure";
inline constexpr std::string_view kPriority = "evicted-priority";
}  // namespace dropped

struct Refusal {
  int status = 503;            // 400, 412, 429, 500 or 503
  std::string_view reason;     // one of dropped::, or ""
  std::string message;         // one sentence
  std::optional<int> retry_after_s;

  // "inference error: ResourceExhausted - <message>"
  std::string body() const;
};

// Endpoints of a decision are indices into Decision::endpoints.
using EndpointIndex = std::int32_t;

struct FilterTrace {
  std::string name;
  std::vector<EndpointIndex> removed;
  std::string note;  // why it kept all, if it might have removed some
};

struct ScorerTrace {
  std::string name;
  double weight = 1;
  std::vector<double> scores;  // of ProfileTrace::scored, clamped to [0, 1]
};

struct ProfileTrace {
  std::string name;
  std::vector<FilterTrace> filters;
  std::vector<EndpointIndex> scored;  // that the filters left
  std::vector<ScorerTrace> scorers;
  std::vector<double> totals;         // sum of weight * score, of `scored`
  std::string picker;
  std::vector<EndpointIndex> picked;  // the first is the primary
  std::string note;                   // why nothing was picked, or that a pair was chosen jointly
};

// What became of prefill/decode disaggregation.
enum class Disaggregation {
  kNotConfigured,
  kDeclined,    // the decider said no
  kNoEndpoint,  // wanted, but no endpoint could prefill; `policy` tells what was done
  kChosen,
};

struct DisaggregationTrace {
  Disaggregation outcome = Disaggregation::kNotConfigured;
  std::string decider;
  std::string reason;  // "1200 of 1500 prompt tokens are not cached on pod-3; 256 are enough"
};

// A chosen endpoint, whole: valid after the pool has changed.
struct Target {
  EndpointIndex index = -1;
  EndpointId id;
};

struct RequestData;  // what producers computed for this request (router/request_data.h)

struct Decision {
  std::optional<Refusal> refusal;  // set: of what follows only the traces count

  std::vector<std::string> endpoints;  // names of the whole pool, by EndpointIndex
  std::vector<Target> decode;           // where to send it: the primary, then fallbacks
  std::vector<Target> prefill;          // empty: prefilled where it is decoded
  std::vector<Target> encode;
  std::string model;         // what the endpoint is asked for, after rewriting
  std::string rewrite_rule;  // which rule did that, or ""
  HeaderList request_headers;   // to set on the forwarded request
  HeaderList response_headers;  // to set on the client's response

  std::vector<ProfileTrace> profiles;
  DisaggregationTrace disaggregation;
  std::vector<std::string> notes;   // of admission, flow control and producers
  Duration queued{};                // in flow control
  Duration spent{};                 // deciding

  std::shared_ptr<RequestData> data;

  bool ok() const { return !refusal.has_value(); }
  const Target& primary() const { return decode.front(); }
};

// What a response has told by its end.
struct ResponseFacts {
  int status = 200;
  std::int64_t prompt_tokens = 0;  // from usage; 0: unknown
  std::int64_t output_tokens = 0;
  std::int64_t cached_tokens = 0;
  std::int64_t bytes = 0;
  Duration processing{};  // metrics.h: response_processing
};

// The explanation for people, a few lines a profile, and for programs, one JSON object.
std::string to_text(const Decision& decision);
std::string to_json(const Decision& decision);

}  // namespace braid::router
