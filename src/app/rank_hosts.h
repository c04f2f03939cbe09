// SPDX-License-Identifier: Apache-2.0
// The hosts that run the ranks of a deployment, as the leading process sees them: its own, and the
// headless ones that connect to it. Each is told which ranks to run, and runs just those.
//
// A host is known by the ranks that its flags name. When it is lost and comes back it gets the ranks
// that it had; one without ranks of its own takes the place of a lost one of that kind. The loss of its
// ranks is heard from their own connections.
// Thread rules: one thread, the supervising one.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "app/admission.h"
#include "app/host_wire.h"
#include "app/local_ranks.h"
#include "app/rank_exchange.h"
#include "app/scale_check.h"

namespace braid::app {

class RankHosts {
 public:
  // A headless host that says nothing for `silence` is lost. `own` outlives this; `all` has the ranks
  // of the deployment, of which those of `here` are this process's.
  struct Parts {
    LocalRanks& own;
    RankRange here;
    int all = 0;
    std::shared_ptr<RankExchange> exchange;
    Duration silence{};
  };
  explicit RankHosts(Parts parts);
  ~RankHosts();

  // Starts the ranks of this process.
  Status start();
  // Why a host may not connect, as things are; `starting`: before all ranks have come.
  Status check(const HostHello& hello, bool starting) const;
  void connect(const HostHello& hello, std::unique_ptr<fabric::Connection> connection);
  // An event of one of the hosts' connections. Returns the rank that has ended there, if that is what it tells.
  std::optional<EndedRank> hear(const RankEvent& event);
  // All ranks have come.
  void serve();
  // The deployment ends: hosts end with it.
  void end();

  // What is there, this process's host first.
  ScaleFacts facts() const;
  // From now on `ranks` from `first` on belong to the hosts of facts() with these numbers.
  void place(int first, const std::vector<std::size_t>& hosts);
  // Has its host start it.
  Status start(int rank);
  // Has its host end it, for good.
  void drop(int rank);
  // Ranks that start from now on are told of so many.
  void resize(int ranks);
  // "rank 5 on node-b"; just "rank 5" for one of this process.
  std::string whereabouts(int rank) const;

 private:
  class Link;
  struct Host {
    HostHello hello;
    std::set<int> ranks;
    std::unique_ptr<Link> link;  // null: lost
    std::uint64_t serial = 0;
    HostState state;
  };

  Host* host_of(int rank);
  Host& record_of(const HostHello& hello);
  void order(Host& host);
  void renew(Host& host, const std::string& text);

  const Parts parts_;
  std::set<int> own_;
  std::vector<Host> hosts_;
  int size_ = 0;
  bool serving_ = false;
  std::uint64_t serials_ = 0;
};

}  // namespace braid::app
