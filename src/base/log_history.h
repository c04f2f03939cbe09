// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace braid {

// The newest warnings and errors of this process's log, oldest first, each behind its Unix time. From any thread.
std::vector<std::string> last_problems();

}  // namespace braid
