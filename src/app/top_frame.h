// SPDX-License-Identifier: Apache-2.0
// What `braid top` shows: a picture of an engine's or a router's /metrics as lines of text.
#pragma once

#include <string>
#include <vector>

#include "metrics/samples.h"

namespace braid::app {

// `before` are the samples of `seconds` earlier, for what is told per second; with 0 seconds there are
// none. No line is longer than `width` characters.
std::vector<std::string> top_frame(const metrics::Samples& now, const metrics::Samples& before, double seconds, int width);

// Of a router; lines of any length.
bool is_router(const metrics::Samples& samples);
std::vector<std::string> top_route(const metrics::Samples& now, const metrics::Samples& before, double seconds);

}  // namespace braid::app
