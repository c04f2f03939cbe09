// SPDX-License-Identifier: Apache-2.0
// The groups that the serving process announces to a rank over its control connection, and the
// collectives of their bootstrap, which it carries.
// Thread rules: announce() and gathered() on the thread that reads the connection, the rest as in
// engine/membership.h.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>

#include "engine/membership.h"
#include "engine/remote/wire.h"
#include "fabric/connection.h"

namespace braid::engine {

class ControlMembership final : public Membership {
 public:
  // `rank`: the own data-parallel one. The connection outlives it. `on_formed` is called by formed(),
  // before the serving process hears of it.
  ControlMembership(fabric::Connection& connection, int rank, std::function<void(const Status&)> on_formed = {});
  ~ControlMembership() override;

  void announce(Group group);
  void gathered(Gathered gathered);

  bool changed() const override;
  Result<fabric::Bootstrap*> next(Duration patience) override;
  void formed(const Status& status) override;
  void notify(std::function<void()> on_change) override;
  void close() override;

 private:
  class Session;
  Result<std::vector<std::string>> gather(const Group& group, const std::string& mine);

  fabric::Connection& connection_;
  const int rank_;
  const std::function<void(const Status&)> on_formed_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Group newest_;
  std::uint64_t taken_ = 0;  // generation
  std::deque<Gathered> answers_;
  std::shared_ptr<std::atomic<bool>> given_up_;  // of the taken group
  std::function<void()> on_change_;
  bool closed_ = false;
  std::unique_ptr<Session> session_;
};

}  // namespace braid::engine
