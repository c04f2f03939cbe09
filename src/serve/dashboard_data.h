// SPDX-License-Identifier: Apache-2.0
// What the engine's dashboard shows (docs/observability.md). Thread rules: the I/O thread.
#pragma once

#include <string>

#include "serve/context.h"

namespace braid::serve {

std::string dashboard_data(Context& context);

}  // namespace braid::serve
