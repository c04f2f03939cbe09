// SPDX-License-Identifier: Apache-2.0
// How many replicas each role should have: from objectives, the learned curve of its replicas and the traffic seen.
// A replica is whatever the target counts: a Deployment's pod, a group of a LeaderWorkerSet, a rank of an elastic
// expert-parallel server.
//
// Up at once, down only to what was enough through the whole stabilization window, and by a share of the
// replicas at a time. A step down that had to be taken back makes the window longer. Requests may be late by a budget, the
// share that objectives leave: while little of it is used the load of a replica may rise, when all is used it was too much. Without metrics everything stays as it is.
// Pure: no clock, no sockets, no threads.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "autoscale/observation.h"
#include "autoscale/service_curve.h"

namespace braid::autoscale {

struct Objectives {
  double first_token = 2;   // seconds
  double token_time = 0.05; // seconds, mean
  double kept = 0.95;       // share of the requests that shall have their first token in time
};

struct ControllerSettings {
  int least = 1, most = 100;       // replicas
  double down_window = 90;         // seconds for which fewer must have been enough
  double most_down = 0.25;         // share of the replicas that leave at once, but at least one
  double drain = 60;               // seconds within which what waits should be gone
  double cache_target = 0.85;      // of a replica's cache
};

struct ScaleDecision {
  int replicas = 0;
  int before = 0;
  std::string reason;  // one sentence with the numbers
};

class RoleController {
 public:
  // `decodes`: the role generates tokens, so that its token times count.
  RoleController(bool decodes, const Objectives& objectives, const ControllerSettings& settings);

  // `now` in seconds, rising. `seen` absent: the metrics did not come.
  ScaleDecision decide(double now, int replicas, const std::optional<RoleObservation>& seen);
  const ServiceCurve& curve() const { return curve_; }

 private:
  struct Demand {
    double replicas = 0;
    std::string why;
  };
  struct Wish {
    double at;
    int replicas;
  };

  void trim(const RoleObservation& seen);
  void count_late(const RoleObservation& seen);
  double most_load(const RoleObservation& seen) const;  // of one replica
  double budget_used() const;  // 1: as many requests were late lately as may be
  Demand demand(const RoleObservation& seen);
  Demand without_curve(const RoleObservation& seen) const;
  int settle(double now, int replicas, double wanted, std::string& reason);

  const bool decodes_;
  const Objectives objectives_;
  const ControllerSettings settings_;
  ServiceCurve curve_;
  std::deque<Wish> wishes_;       // of the window
  std::optional<double> since_;   // metrics have come without a gap
  std::optional<double> last_seen_;
  double window_ = 0;             // of stabilization now: longer after a step down that was taken back
  double turned_ = 0;             // when that was
  std::optional<double> lowered_; // the last step down
  double trim_ = 1;     // of the load that the curve allows
  double ceiling_ = 1e9;   // of trim_, below what was too much
  int tight_ = 0;          // intervals in a row in which objectives were nearly missed
  bool waits_ = false;  // there are more replicas than wanted, until the window has passed
  double fast_ = 0, slow_ = 0;  // means of the offered load
  double started_ = 0, late_ = 0;  // requests lately, older ones counting less
  bool late_now_ = false;          // more than may be in the last interval
  int ready_ = 0;                  // in the last interval
  double sustained_ = 0;           // largest load of a replica under which objectives had room
  double prompt_tokens_ = 0, output_tokens_ = 0;
};

}  // namespace braid::autoscale
