// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/event_loop.h"

namespace braid::net {

// Asks the system for the addresses of a name without holding up the loop; `done` runs on it, with each
// address once, in order. Errors: the name is not known, or nobody could say.
void resolve(EventLoop& loop, const std::string& name, std::function<void(Result<std::vector<std::string>>)> done);

}  // namespace braid::net
