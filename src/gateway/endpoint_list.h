// SPDX-License-Identifier: Apache-2.0
// Endpoints as people write them down: on the command line, or in a file of llm-d's file discovery.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "router/endpoint.h"

namespace braid::gateway {

// Label of an endpoint that shares its port with other ranks: requests name its rank in a header.
inline constexpr std::string_view kSharedPortLabel = "braid/shared-port";

// "host:port", "host:port@rank" (one rank of those behind the port), "[::1]:8000"; labels may follow:
// "host:port;llm-d.ai/role=prefill", and "role" is short for "llm-d.ai/role". Several in one text are
// separated by commas. Names are "host:port" and "host:port-rank-<i>".
Result<std::vector<router::Endpoint>> parse_endpoint_list(const std::vector<std::string>& texts);

// YAML: endpoints: [{name, namespace, address, port, labels}]. Keys that are not known are errors, as is
// a name that stands there twice.
Result<std::vector<router::Endpoint>> parse_endpoint_file(const std::string& yaml, const std::string& file);

struct HostPort {
  std::string host;  // without brackets
  int port = 0;
};
Result<HostPort> parse_host_port(std::string_view text);

}  // namespace braid::gateway
