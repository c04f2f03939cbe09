// SPDX-License-Identifier: Apache-2.0
// One simulated rank: the engine's own scheduler, block pool and prefix hashes, without a model. It is told how
// many steps went by, and computes them all at once while nothing but decoding happens.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/scheduler.h"
#include "planning/step_cost.h"
#include "planning/traffic.h"

namespace braid::planning {

struct RankOptions {
  engine::SchedulerLimits limits;
  std::int32_t blocks = 1;
  int block_size = 64;
  int drafts = 0;             // guessed tokens a step and sequence
  double tokens_per_step = 1; // of a decoding sequence: 1 and the drafts accepted
  bool imports = false;       // prompts come with their keys and values, computed elsewhere
};

// What a rank does for one request.
struct Job {
  std::size_t request = 0;
  const TrafficRequest* traffic = nullptr;
  int output = 0;  // tokens to generate here
};

class Rank {
 public:
  // Called at the end of the step that brings a job's first token, or its last one.
  struct Events {
    std::vector<std::size_t> started, finished;  // requests
  };

  Rank(const RankOptions& options, prefix::BlockHasher* hasher);

  void submit(const Job& job);
  // What the step that begins now computes.
  const RankWork& work();
  // How many steps from now on differ only by the growth of the cache; at least 1 after work().
  std::int64_t steady_steps();
  // `steps` of them were computed. REQUIRES: at most steady_steps().
  void advance(std::int64_t steps, Events& events);

  bool idle() const { return live_.empty(); }
  std::size_t waiting() const { return scheduler_.waiting(); }
  std::size_t running() const { return scheduler_.running(); }
  double cache_use() const { return static_cast<double>(pool_.used()) / pool_.total(); }
  std::int64_t cached_tokens() const { return cached_tokens_; }
  std::int64_t preemptions() const { return preemptions_; }

 private:
  struct Live {
    Job job;
    std::unique_ptr<engine::Sequence> sequence;
    double owed = 0;  // fractions of tokens
    bool started = false;
  };

  void plan();
  void settle();
  std::int64_t horizon() const;
  void generate(Live& live, std::int64_t steps);
  Live& live(const engine::Sequence* sequence) { return *live_.at(sequence); }

  const RankOptions options_;
  prefix::BlockHasher* const hasher_;
  kv::BlockPool pool_;
  engine::Scheduler scheduler_;
  engine::StepPlan plan_;
  std::unordered_map<const engine::Sequence*, std::unique_ptr<Live>> live_;
  RankWork work_;
  bool planned_ = false;
  bool steady_ = false;
  std::int64_t steps_left_ = 0;  // until the plan changes by itself
  std::int64_t steps_due_ = 0;   // that went by and are not yet in the sequences
  std::uint64_t arrivals_ = 0;
  std::int64_t cached_tokens_ = 0;
  std::int64_t preemptions_ = 0;
};

}  // namespace braid::planning
