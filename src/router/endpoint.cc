// SPDX-License-Identifier: Apache-2.0
#include "router/endpoint.h"

namespace braid::router {

std::string EndpointId::host_port() const {
  const bool v6 = address.find(':') != std::string::npos;
  return (v6 ? "[" + address + "]" : address) + ":" + std::to_string(port);
}

std::string_view Endpoint::label(std::string_view key) const {
  const auto found = labels.find(key);
  return found == labels.end() ? std::string_view() : std::string_view(found->second);
}

Roles roles_of(const Labels& labels) {
  const auto found = labels.find(kRoleLabel);
  if (found == labels.end()) return {.decode = true};
  const std::string& role = found->second;
  const bool all = role == "encode-prefill-decode";
  const bool both = role == "both" || role == "prefill-decode" || all;
  return {.prefill = both || role == "prefill" || role == "encode-prefill",
          .decode = both || role == "decode",
          .encode = all || role == "encode" || role == "encode-prefill",
          .labelled = true};
}

}  // namespace braid::router
