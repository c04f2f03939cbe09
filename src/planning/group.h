// SPDX-License-Identifier: Apache-2.0
// A group of simulated ranks that step together, because they share the experts.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "planning/layout.h"

namespace braid::planning {

class Group {
 public:
  Group(const GroupModel& model, Role role, int number, prefix::BlockHasher* hasher);

  Role role() const { return role_; }
  int ranks() const { return static_cast<int>(ranks_.size()); }
  Rank& rank(int index) { return *ranks_[static_cast<std::size_t>(index)]; }
  const Rank& rank(int index) const { return *ranks_[static_cast<std::size_t>(index)]; }
  const std::string& name(int rank) const { return names_[static_cast<std::size_t>(rank)]; }

  // Steps that nothing but the growth of caches tells apart.
  struct Stretch {
    double begin = 0;
    std::int64_t steps = 0;
    double tokens = 0;  // of one step
    double prompt_tokens = 0;
    StepTime time;      // of one step

    double end() const { return begin + static_cast<double>(steps) * time.seconds(); }
  };
  // The steps from `now` on; none when there is nothing to compute.
  const Stretch& begin(double now);
  // Ends the stretch with the step that is under way at `now`, because something new waits for the next one.
  void shorten(double now);
  // The stretch is over.
  Stretch finish(Rank::Events& events);
  bool idle() const;

  bool stepping() const { return stretch_.steps > 0; }
  // Another one for each stretch and each time it was shortened.
  std::uint64_t version() const { return version_; }
  double end() const { return stretch_.end(); }

  bool draining = false;
  double created = 0;

 private:
  const GroupModel& model_;
  const Role role_;
  std::vector<std::unique_ptr<Rank>> ranks_;
  std::vector<std::string> names_;
  Stretch stretch_;
  std::uint64_t version_ = 0;
};

}  // namespace braid::planning
