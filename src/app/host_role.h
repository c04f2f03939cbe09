// SPDX-License-Identifier: Apache-2.0
// What a serving process has to do with the ranks of its deployment. One process leads: it starts
// rank 0 and says who steps together. Which process hands requests to a rank depends on the mode:
//
//   internal            the leader, to all ranks; other hosts are headless
//   hybrid              each host's process, to the ranks of its host
//   external            a process for every rank, each with its own port
//   multi-port external the same, started and watched by one process a host (app/port_supervisor.h)
#pragma once

#include "app/settings.h"
#include "base/result.h"

namespace braid::app {

struct RankRange {
  int first = 0;
  int count = 0;
  bool contains(int rank) const { return rank >= first && rank < first + count; }
  bool operator==(const RankRange&) const = default;
};

struct HostRole {
  bool leads = true;
  RankRange started;    // by this process
  RankRange connected;  // to this process
  bool serves_all = true;  // hands requests to all ranks, else to those it has started
  bool serves(int rank) const { return serves_all || started.contains(rank); }
};

HostRole role_of(const ParallelSettings& settings);

// Whether the settings of a process that serves go together.
Status check_parallel(const ParallelSettings& settings);

}  // namespace braid::app
