// SPDX-License-Identifier: Apache-2.0
// What is known of the replicas of one role when scale is decided. Rates are means over the last interval.
#pragma once

#include <optional>

namespace braid::autoscale {

struct RoleObservation {
  int ready = 0;      // replicas that answer
  int starting = 0;   // wanted, but not there yet
  // Of all ready replicas together.
  double waiting = 0, running = 0;      // requests
  double prompt_rate = 0;               // tokens a second computed, without those found in caches
  double output_rate = 0;               // tokens a second generated
  double cache_use = 0;                 // mean, 0 to 1
  std::optional<double> busy;           // share of the interval spent on prompts; a prefill role's load
  std::optional<double> first_token;    // seconds, of the requests that had theirs in the interval: p90
  double started = 0;                   // requests that had their first token in the interval
  double late = 0;                      // of them, those that had it later than the objective
  std::optional<double> token_time;     // seconds between tokens: mean
  // What clients asked for meanwhile.
  double arrivals = 0;                  // requests a second
  double prompt_tokens = 0;             // of a request, without those found in caches; 0: unknown
  double output_tokens = 0;             // of a request; 0: unknown
};

}  // namespace braid::autoscale
