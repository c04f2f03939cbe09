// SPDX-License-Identifier: Apache-2.0
// Drives an OpenAI-compatible server with streamed completions and measures what a client sees.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace braid::app {

struct LoadPlan {
  std::vector<std::string> urls;  // servers that take turns
  std::string api_key;
  std::vector<std::string> bodies;  // one JSON request body each, with "stream": true and usage
  double request_rate = 0;          // Poisson arrivals per second; 0: as fast as concurrency allows
  std::vector<double> arrivals;     // instead of that: seconds from the start, one for each body, ascending
  int max_concurrency = 0;          // 0: no limit
  std::uint64_t seed = 0;
  bool chat = false;                // bodies are for /v1/chat/completions
};

// Seconds. `gaps` are the times between one piece of text and the next, of all requests.
struct LoadResult {
  std::vector<double> first_token;
  std::vector<double> gaps;
  std::vector<double> end_to_end;
  std::vector<double> first_token_of;  // of each body; negative: it failed
  std::vector<double> ended_at;        // of each body, from the start; negative: it failed
  std::int64_t prompt_tokens = 0;
  std::int64_t output_tokens = 0;
  int failed = 0;
  std::string first_failure;
  double seconds = 0;
};

// Waits until every request has ended or failed; each has its own deadline.
Result<LoadResult> generate_load(const LoadPlan& plan);

double percentile(std::vector<double> values, double p);

}  // namespace braid::app
