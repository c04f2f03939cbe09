// SPDX-License-Identifier: Apache-2.0
// What the leading process and a headless host say to each other over a control connection
// (fabric/connection.h), once the host is welcome:
//
//   to the host                        from the host
//   kRun  HostOrder, when it changes   kState  HostState, twice a second, as a sign of life
//   kEnd  (empty): the server ends     kEnded  EndedRank: the process of a rank has ended by itself
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/remote/archive.h"

namespace braid::app {

enum class HostFrame : std::uint8_t { kRun = 31, kEnd, kState = 131, kEnded };

// Which ranks are to run on the host from now on, and no others.
struct HostOrder {
  std::int32_t size = 0;  // ranks of the deployment
  std::vector<std::int32_t> ranks;
  bool serving = false;  // the deployment has started: a rank that ends is started again
};

struct HostState {
  std::int64_t rank_bytes = 0;       // private memory of its largest rank
  std::int64_t available_bytes = 0;  // that further ranks could take
};

struct EndedRank {
  std::int32_t rank = 0;
  std::string text;  // "rank 2 was killed by signal 9"
};

template <class Archive>
void fields(Archive& a, HostOrder& v) {
  a.all(v.size, v.ranks, v.serving);
}

template <class Archive>
void fields(Archive& a, HostState& v) {
  a.all(v.rank_bytes, v.available_bytes);
}

template <class Archive>
void fields(Archive& a, EndedRank& v) {
  a.all(v.rank, v.text);
}

}  // namespace braid::app
