// SPDX-License-Identifier: Apache-2.0
// The requests that ended last, for the dashboard, and the spans of one, with vLLM's names of attributes.
// Thread rules: the I/O thread only.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "engine/messages.h"
#include "protocol/request.h"
#include "tracing/tracer.h"

namespace braid::serve {

struct RequestRecord {
  std::string id;
  TimePoint arrived{};
  TimePoint ended{};
  engine::Timing timing;  // the longest of its choices
  std::int64_t prompt_tokens = 0;
  std::int64_t cached_tokens = 0;
  std::int64_t output_tokens = 0;
  std::string_view finish;

  void take(const engine::Timing& choice);
};

class RequestLog {
 public:
  void add(const RequestRecord& record);
  // A JSON list, newest first; `age_ms` tells how long ago each arrived.
  std::string json(TimePoint now) const;

 private:
  std::deque<RequestRecord> records_;
};

void describe_request(tracing::Span& span, const protocol::CommonRequest& request, const std::string& model, const RequestRecord& record,
                      std::size_t sequences);
// Ends the request's span, after those of its parts: queue, kv_transfer, prefill and decode.
void end_request_span(tracing::Tracer& tracer, tracing::Span&& span, const RequestRecord& record);

}  // namespace braid::serve
