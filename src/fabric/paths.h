// SPDX-License-Identifier: Apache-2.0
// How ranks reach each other, and how fast: measured before they rely on it.
#pragma once

#include <vector>

#include "fabric/group.h"

namespace braid::fabric {

// From this rank to a peer. Bytes a second; 0 where there is no figure, and at the own rank.
struct MeasuredPath {
  std::string name;
  double expected = 0;  // what the path is made for
  double measured = 0;  // the best of several pieces of a window
};

// Collective. Every rank writes to every peer in turn, a different one each.
Result<std::vector<MeasuredPath>> measure_paths(Bootstrap& bootstrap, Transport& transport, Duration timeout);

// Whether a path is so much slower than expected that something must be wrong with it.
bool suspicious(const MeasuredPath& path);

}  // namespace braid::fabric
