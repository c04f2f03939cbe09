// SPDX-License-Identifier: Apache-2.0
// The ways of choosing an engine that `braid bench route` compares.
#pragma once

#include <string>

#include "base/result.h"

namespace braid::app {

struct Policy {
  std::string name;
  std::string config;  // EndpointPickerConfig; empty: no router, the engines take turns
  bool kv_events = false;  // engines tell which blocks they hold
};

// `config_file` is that of the policy "config"; `socket_port` is where the router hears
// of the engines' caches. Errors: an unknown name.
Result<Policy> find_policy(const std::string& name, const std::string& config_file, int socket_port);

}  // namespace braid::app
