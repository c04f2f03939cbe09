// SPDX-License-Identifier: Apache-2.0
// Which ranks an engine steps with, as somebody outside decides: the first group, and another one
// whenever a rank is lost or joins.
// Thread rules: next() and formed() on the engine thread, the others from any thread.
#pragma once

#include <functional>
#include <string>

#include "base/clock.h"
#include "fabric/group.h"

namespace braid::engine {

class Membership {
 public:
  virtual ~Membership() = default;
  // A group was announced that next() has not returned yet.
  virtual bool changed() const = 0;
  // The newest announced group; waits for one up to `patience`. Valid until the next call. The one
  // before is given up.
  virtual Result<fabric::Bootstrap*> next(Duration patience) = 0;
  // How forming that group ended here.
  virtual void formed(const Status& status) = 0;
  // Called whenever a group is announced.
  virtual void notify(std::function<void()> on_change) = 0;
  // Makes next() fail from now on.
  virtual void close() = 0;
};

}  // namespace braid::engine
