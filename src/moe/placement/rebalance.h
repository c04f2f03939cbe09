// SPDX-License-Identifier: Apache-2.0
// Keeps the experts of a model spread so that all ranks have about the same work (EPLB). Every
// `interval` steps the ranks add up how many rows each slot of each layer computed in the last
// `window` steps, and each finds by the same rules (balance.h) a better placement for every layer.
// Then, layer after layer:
//
//   a thread fetches the weights that come to this rank   (the layer still computes with the old ones)
//   every rank says so in the message before a step        staged()
//   when all have said so, all change to the new placement  step(), which only exchanges pointers, or, where kernels have
//                                                           memory of their own, tells the stream to copy them
//
// so serving goes on all the time. The message also carries maps(), by which the ranks see that they
// agree on who holds what.
// Until join() nothing happens.
// Thread rules: one thread calls the methods, that of the layers; the observer is called from there
// and from the thread that fetches.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "moe/placement/load_window.h"
#include "moe/placement/weight_mover.h"

namespace braid::moe {

// What one layer did in the window, on all ranks.
struct LayerLoad {
  int layer = 0;
  std::vector<double> ranks;    // rows that each computed
  std::vector<double> experts;  // rows of each
};

// Where a rearrangement becomes visible. Calls may come from two threads at a time.
class RebalanceObserver {
 public:
  virtual ~RebalanceObserver() = default;
  virtual void measured(const std::vector<LayerLoad>&) {}
  virtual void rearranged(int /*layers*/, std::uint64_t /*bytes*/, Duration) {}  // sent by this rank
  virtual void stepped(std::int64_t /*rows*/, Duration) {}  // what step() saw, and how long it took
  virtual void stopped(const Error&) {}                     // until the next join(); serving goes on
};

struct RebalanceOptions {
  int window = 1000;
  int interval = 3000;
  int report_interval = 0;  // steps between measurements without a rearrangement; 0: none
  bool background = true;   // false: step() itself does it all at once
  int groups = 1;           // as in Topology
  int nodes = 1;            // taken when all ranks say the same and it divides their number, else 1
  Duration timeout = std::chrono::seconds(60);
  // Other rules than balance(), for tests: a placement for a layer, from the one it has and its loads.
  std::function<Result<Placement>(const Placement&, std::span<const double>)> policy = {};
};

class Rebalancer {
 public:
  // The layers, their stream and `observer` outlive it, and so does `transport`, which a thread of its own uses.
  Rebalancer(fabric::Transport& transport, std::vector<Layer*> layers, Stream& stream, const RebalanceOptions& options,
             RebalanceObserver& observer);
  ~Rebalancer() { leave(); }

  // Collective: from now on with this group of ranks, over which the layers' placements spread the
  // experts. What was under way in a group before is given up; its waits must be able to end.
  Status join(fabric::Bootstrap& bootstrap);

  // Gives up what is under way; nothing happens until the next join(). To be called before the layers
  // change by other means.
  void leave();

  // For the message to the other ranks: how much this rank has ready, and what its layers' placements are.
  std::uint64_t staged() const { return staged_.load(std::memory_order_acquire); }
  std::uint64_t maps() const { return maps_; }
  // Before every step that all ranks make, between agreement and computation: the least staged() of
  // all ranks.
  void step(std::uint64_t staged_by_all);

 private:
  // What all ranks change at once: one layer, or without one the end of a rearrangement.
  struct Change {
    std::size_t layer = 0;
    std::optional<Placement> placement;
    std::vector<Incoming> incoming;
  };
  struct Task {
    bool rearrange = false;
    std::vector<std::int64_t> rows;  // [layers][local slots]
  };

  void observe_rows();
  void start(bool rearrange);
  void apply(Change& change);
  void let_go();
  void run();
  template <class Ready>
  void wait_until(Ready ready);
  void wake();
  Status work(const Task& task);
  Status rearrange(const std::vector<LayerLoad>& loads);
  Result<std::vector<LayerLoad>> gather(const Task& task);
  Result<std::optional<Placement>> better(const Placement& held, std::span<const double> loads) const;
  bool hand_over(Change change);
  void stop_for(const Status& status);

  fabric::Transport& transport_;
  const std::vector<Layer*> layers_;
  Stream& stream_;
  const RebalanceOptions options_;
  RebalanceObserver& observer_;
  std::unique_ptr<WeightMover> mover_;
  std::unique_ptr<WeightMover> left_;  // others may still write to its memory
  std::unique_ptr<fabric::AllGather> loads_;
  std::vector<LoadWindow> windows_;
  int nodes_ = 1;
  std::uint64_t maps_ = 0;
  std::uint64_t applied_ = 0;  // changes
  std::int64_t rows_ = 0;      // computed since the start
  int steps_ = 0;              // since the last rearrangement
  int unreported_ = 0;         // steps since the last measurement
  bool busy_ = false;
  bool copying_ = false;       // the stream reads what change_ has

  // No lock: serving must not wait for a thread that others keep from running. task_ belongs to the
  // thread while has_task_, change_ to the layers' thread while pending_.
  std::atomic<std::uint64_t> staged_{0};
  std::atomic<std::uint32_t> wakes_{0};
  std::atomic<bool> has_task_{false};
  std::atomic<bool> pending_{false};
  std::atomic<bool> stopping_{false};
  Task task_;
  Change change_;  // the one staged last
  std::thread thread_;
};

}  // namespace braid::moe
