// SPDX-License-Identifier: Apache-2.0
// The ranks behind a server, as its endpoints see and change them.
// Thread safety: every method from any thread; none blocks.
#pragma once

#include <functional>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace braid::serve {

struct DeploymentState {
  int ranks = 1;             // that belong to the deployment
  std::vector<int> missing;  // those of them that take no requests now
  bool scaling = false;
};

class Deployment {
 public:
  virtual ~Deployment() = default;
  virtual DeploymentState state() const = 0;
  // Changes the number of ranks while the others serve. Ranks that leave may finish their requests for
  // `drain`; what is left then goes on on the others. `done` hears how it ended, at once or later, on
  // any thread; after an error the ranks are those there were.
  virtual void scale(int ranks, Duration drain, std::function<void(const Status&)> done) = 0;
};

}  // namespace braid::serve
