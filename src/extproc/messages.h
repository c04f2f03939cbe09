// SPDX-License-Identifier: Apache-2.0
// What Envoy and an external processor tell each other about one HTTP request, as plain data. Envoy must
// be set to FULL_DUPLEX_STREAMED: bodies go to the processor piece by piece, and what it gives back goes
// on instead of them, at any later time and in pieces of its own.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace braid::extproc {

using Headers = std::vector<std::pair<std::string, std::string>>;  // names in lower case

enum class Part { kRequestHeaders, kRequestBody, kRequestTrailers, kResponseHeaders, kResponseBody, kResponseTrailers };

// A value of a filter's dynamic metadata; of other kinds than text and lists of text nothing is told.
struct Metadata {
  std::string space;  // "envoy.lb"
  std::string key;
  std::vector<std::string> values;
};

// From Envoy.
struct Message {
  Part part = Part::kRequestHeaders;
  Headers headers;  // or trailers; ":method" and the like first
  std::string body;
  bool end = false;  // nothing of this request, or response, follows; trailers always are the end
  std::vector<Metadata> metadata;
};

// To Envoy: what becomes of a part.
struct Reply {
  Part part = Part::kRequestHeaders;
  Headers set;                      // over those of the same name
  std::vector<std::string> remove;  // names
  std::string body;                 // of body parts: what goes on
  bool end = false;                 // of body parts: it was the last
  bool route_again = false;         // Envoy's choice of a route heeds the new headers
  std::vector<Metadata> metadata;   // for other filters, and the load balancer
};

// To Envoy: the client gets this and nothing else.
struct Answer {
  int status = 503;
  Headers headers;
  std::string body;
  std::string details;  // for Envoy's log
};

// What Envoy is told: one of the two.
struct Told {
  bool is_answer = false;
  Reply reply;
  Answer answer;
};

}  // namespace braid::extproc
