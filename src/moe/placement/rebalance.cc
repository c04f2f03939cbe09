// SPDX-License-Identifier: Apache-2.0
#include "moe/placement/rebalance.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/check.h"
#include "base/clock.h"
#include "base/thread_name.h"
#include "base/thread_priority.h"
#include "moe/placement/balance.h"

namespace braid::moe {
namespace {

// A layer stays as it is unless its balancedness is to grow by this.
constexpr double kWorthwhile = 0.01;

TimePoint now() { return std::chrono::steady_clock::now(); }

std::uint64_t maps_of(const std::vector<Layer*>& layers) {
  std::uint64_t hash = 1469598103934665603u;
  for (const Layer* layer : layers) hash = (hash ^ layer->placement().checksum()) * 1099511628211u;
  return hash;
}

}  // namespace

Rebalancer::Rebalancer(fabric::Transport& transport, std::vector<Layer*> layers, Stream& stream, const RebalanceOptions& options,
                       RebalanceObserver& observer)
    : transport_(transport), layers_(std::move(layers)), stream_(stream), options_(options), observer_(observer) {}

Status Rebalancer::join(fabric::Bootstrap& bootstrap) {
  leave();
  ASSIGN_OR_RETURN(const auto nodes, bootstrap.all_gather(std::to_string(options_.nodes)));
  left_.reset();
  ASSIGN_OR_RETURN(mover_, WeightMover::create(bootstrap, transport_, layers_, stream_, options_.timeout));
  const std::size_t slots = layers_.front()->slots().size();
  ASSIGN_OR_RETURN(loads_, fabric::AllGather::create(bootstrap, transport_, layers_.size() * slots * sizeof(std::int64_t),
                                                     options_.timeout));
  const bool alike = std::count(nodes.begin(), nodes.end(), nodes.front()) == bootstrap.size();
  nodes_ = alike && bootstrap.size() % options_.nodes == 0 ? options_.nodes : 1;
  windows_.clear();
  for (Layer* layer : layers_) {
    windows_.emplace_back(options_.window, slots).add(layer->slot_rows());
    windows_.back().clear();
  }
  maps_ = maps_of(layers_);
  steps_ = options_.interval - options_.interval / 4;  // the first rearrangement comes early
  if (options_.background) thread_ = std::thread([this] { run(); });
  return Status::success();
}

void Rebalancer::leave() {
  stopping_ = true;
  wake();
  if (thread_.joinable()) thread_.join();
  if (mover_) left_ = std::move(mover_);
  loads_.reset();
  staged_ = applied_ = maps_ = 0;
  unreported_ = 0;
  busy_ = copying_ = has_task_ = pending_ = stopping_ = false;
  change_ = {};
}

void Rebalancer::step(std::uint64_t staged_by_all) {
  if (!mover_) return;
  const TimePoint begin = now();
  const std::int64_t before = rows_;
  observe_rows();
  if (copying_) let_go();
  if (staged_by_all > applied_) {
    copying_ = !stream_.unified();
    apply(change_);
    if (!copying_) let_go();
  }
  ++steps_;
  ++unreported_;
  if (!busy_ && steps_ >= options_.interval) {
    start(true);
  } else if (!busy_ && options_.report_interval > 0 && unreported_ >= options_.report_interval) {
    start(false);
  }
  observer_.stepped(rows_ - before, now() - begin);
}

// What change_ has is the thread's again: the step before has been waited for, so its copies are made.
void Rebalancer::let_go() {
  copying_ = false;
  pending_ = false;
  wake();
}

void Rebalancer::observe_rows() {
  rows_ = 0;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const auto rows = layers_[i]->slot_rows();
    windows_[i].add(rows);
    rows_ += std::accumulate(rows.begin(), rows.end(), std::int64_t{0});
  }
}

void Rebalancer::start(bool rearrange) {
  Task task{rearrange, {}};
  for (const LoadWindow& window : windows_) task.rows.insert(task.rows.end(), window.rows().begin(), window.rows().end());
  unreported_ = 0;
  if (rearrange) steps_ = 0;
  busy_ = true;
  if (!options_.background) return stop_for(work(task));
  task_ = std::move(task);
  has_task_ = true;
  wake();
}

void Rebalancer::apply(Change& change) {
  ++applied_;
  if (!change.placement) {
    busy_ = false;
    return;
  }
  Layer& layer = *layers_[change.layer];
  for (Incoming& in : change.incoming) {
    ops::PackedMlp& slot = layer.slots()[in.slot];
    if (stream_.unified()) std::swap(slot, in.weights);
    else CHECK(SlotRecord::read(in.header, in.buffers, slot, stream_).ok(), "an expert's weights arrived without their header");
  }
  layer.apply(*change.placement, stream_);
  windows_[change.layer].clear();
  maps_ = maps_of(layers_);
}

void Rebalancer::run() {
  name_this_thread("braid-eplb");
  lower_this_threads_priority();
  for (;;) {
    wait_until([this] { return stopping_ || has_task_; });
    if (stopping_) return;
    const Task task = std::move(task_);
    has_task_ = false;
    const Status status = work(task);
    stop_for(status);
    if (!status.ok()) return;
  }
}

template <class Ready>
void Rebalancer::wait_until(Ready ready) {
  for (std::uint32_t seen = wakes_; !ready(); seen = wakes_) wakes_.wait(seen);
}

void Rebalancer::wake() {
  ++wakes_;
  wakes_.notify_all();
}

void Rebalancer::stop_for(const Status& status) {
  if (!status.ok() && !stopping_) observer_.stopped(status.error());
}

Status Rebalancer::work(const Task& task) {
  ASSIGN_OR_RETURN(const auto loads, gather(task));
  observer_.measured(loads);
  if (task.rearrange) RETURN_IF_ERROR(rearrange(loads));
  hand_over({});
  return Status::success();
}

Result<std::vector<LayerLoad>> Rebalancer::gather(const Task& task) {
  RETURN_IF_ERROR(loads_->post(std::as_bytes(std::span(task.rows))));
  ASSIGN_OR_RETURN(const auto all, loads_->collect({"the adding of expert loads"}));
  const auto ranks = static_cast<std::size_t>(loads_->size());
  const std::size_t stride = all.size() / ranks, local = layers_.front()->slots().size();
  std::vector<LayerLoad> result;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Placement& placement = layers_[i]->placement();
    LayerLoad load{layers_[i]->parts().index, std::vector<double>(ranks, 0),
                   std::vector<double>(static_cast<std::size_t>(placement.experts()), 0)};
    for (std::size_t s = 0; s < ranks * local; ++s) {
      std::int64_t rows = 0;
      std::memcpy(&rows, all.data() + s / local * stride + (i * local + s % local) * sizeof rows, sizeof rows);
      const std::int32_t expert = placement.expert_in(static_cast<std::int32_t>(s));
      load.ranks[s / local] += static_cast<double>(rows);
      if (expert >= 0) load.experts[static_cast<std::size_t>(expert)] += static_cast<double>(rows);
    }
    result.push_back(std::move(load));
  }
  return result;
}

Status Rebalancer::rearrange(const std::vector<LayerLoad>& loads) {
  const TimePoint begin = now();
  const std::uint64_t sent = mover_->sent_bytes();
  int moved = 0;
  std::vector<Incoming> spare;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    ASSIGN_OR_RETURN(auto placement, better(layers_[i]->placement(), loads[i].experts));
    if (!placement) continue;
    ASSIGN_OR_RETURN(auto incoming, mover_->fetch(i, *placement, std::move(spare)));
    if (!hand_over({i, std::move(placement), std::move(incoming)})) return Status::success();
    if (!options_.background) RETURN_IF_ERROR(stream_.wait());
    spare = std::move(change_.incoming);
    ++moved;
  }
  observer_.rearranged(moved, mover_->sent_bytes() - sent, now() - begin);
  return Status::success();
}

Result<std::optional<Placement>> Rebalancer::better(const Placement& held, std::span<const double> loads) const {
  if (options_.policy) {
    ASSIGN_OR_RETURN(auto wanted, options_.policy(held, loads));
    return std::optional(std::move(wanted));
  }
  ASSIGN_OR_RETURN(auto wanted, balance(loads, {held.slots(), options_.groups, nodes_, held.ranks()}));
  Placement placement = keep_in_place(held, Placement(held.experts(), held.ranks(), std::move(wanted.slot_expert)));
  const double gain = balancedness(rank_loads(placement, loads)) - balancedness(rank_loads(held, loads));
  if (gain < kWorthwhile) return std::optional<Placement>();
  return std::optional(std::move(placement));
}

// Returns when all ranks have changed, with what the change replaced in change_; false: to stop.
bool Rebalancer::hand_over(Change change) {
  if (!options_.background) {
    change_ = std::move(change);
    apply(change_);
    return true;
  }
  change_ = std::move(change);
  pending_ = true;
  staged_.fetch_add(1, std::memory_order_release);
  wait_until([this] { return stopping_ || !pending_; });
  return !stopping_;
}

}  // namespace braid::moe
