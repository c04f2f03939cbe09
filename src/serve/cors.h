// SPDX-License-Identifier: Apache-2.0
// Cross-origin requests: which pages of other origins may ask, and what browsers are told about it.
// Thread safety: const methods from any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/http_message.h"

namespace braid::serve {

// "*" among origins, methods or headers allows all.
struct CorsRules {
  std::vector<std::string> origins, methods, headers;
  bool credentials = false;
};

class Cors {
 public:
  explicit Cors(CorsRules rules = {}) : rules_(std::move(rules)) {}

  // Headers for the answer to `request`; none when it does not come from another origin, or from
  // one that is not allowed.
  std::vector<net::Header> headers_for(const net::Request& request) const;

  // The answer to a preflight: 200, or 400 naming what is not allowed. Nothing when `request` is none.
  std::optional<net::Response> preflight(const net::Request& request) const;

 private:
  CorsRules rules_;
};

}  // namespace braid::serve
