// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "app/load_generator.h"

namespace braid::app {

// An SVG picture of three curves: the share of requests (of gaps) that took at most so long.
std::string latency_plot(const LoadResult& result);

}  // namespace braid::app
