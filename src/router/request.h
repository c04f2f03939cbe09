// SPDX-License-Identifier: Apache-2.0
// What the router knows of a request: facts of its headers and body, never a whole parsed body.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "router/body_facts.h"

namespace braid::router {

using HeaderList = std::vector<std::pair<std::string, std::string>>;  // names in lower case

// The value of the first header called `name` (lower case), or "".
std::string_view find_header(const HeaderList& headers, std::string_view name);

struct RoutedRequest {
  std::string id;    // x-request-id
  std::string path;  // without query
  HeaderList headers;
  std::string body;   // as sent; BodyFacts point into it
  BodyFacts facts;    // model, prompt bytes, max tokens, streaming ...
  std::string model;  // as the client names it
  std::vector<std::int32_t> tokens;  // the prompt's ids, if somebody has computed them

  int priority = 0;  // of the objective; below 0: may be dropped under load
  std::string objective;
  std::string fairness_id = "default-flow";
  std::string model_override;         // x-llm-d-model-name-rewrite
  std::optional<double> slo_ttft_ms;  // time to first token wanted
  std::optional<double> slo_tpot_ms;  // time per output token wanted
  std::optional<Duration> ttl;        // longest wait in the router; may only shorten the configured
  std::vector<std::string> subset;    // "address" or "address:port" allowed; empty: all
  bool if_available = false;          // Prefer: if-available
  TimePoint received{};

  std::string_view header(std::string_view name) const { return find_header(headers, name); }
  // Prompt length in tokens: counted if the ids are known, else estimated at four bytes each.
  std::int64_t prompt_tokens() const;
};

// An HTTP request on its way in. Old header names are read too; the llm-d.ai ones win.
struct IncomingRequest {
  std::string method;
  std::string path;
  HeaderList headers;
  std::string body;
};

// Errors: a body that is no JSON object, a header that does not parse. A path that no parser claims
// is passed through: its body is not looked at and its model is "".
Result<RoutedRequest> read_request(IncomingRequest incoming, TimePoint now);

// Headers that only the router may set. Strip them from what a client sends before forwarding.
std::span<const std::string_view> routing_headers();

// The body with its model replaced. The body itself where it names none.
std::string body_with_model(const RoutedRequest& request, std::string_view model);

// "1.5s", "200ms", "1h2m", "0s", "0": a duration as Go writes it, never negative.
Result<Duration> parse_duration(std::string_view text);

}  // namespace braid::router
