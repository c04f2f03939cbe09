// SPDX-License-Identifier: Apache-2.0
// What answers requests behind the HTTP face: an engine in this process, or the ranks of a
// deployment, each a process of its own.
#pragma once

#include <signal.h>

#include <memory>
#include <string>

#include "app/commands.h"
#include "app/load.h"
#include "app/settings.h"
#include "engine/engine.h"
#include "events/publisher.h"
#include "serve/deployment.h"

namespace braid::app {

class EngineHost {
 public:
  virtual ~EngineHost() = default;
  virtual engine::Engine& engine() = 0;
  virtual std::string metrics_text() = 0;
  // The newest steps of each rank, as a file of base/timeline.h.
  virtual std::string timeline() = 0;
  // Null: it is an engine in this process.
  virtual serve::Deployment* deployment() { return nullptr; }
};

// By the settings; `words` are those of the command line, for the ranks' processes. Returns when
// the model is loaded everywhere.
Result<std::unique_ptr<EngineHost>> start_engine(const ServeSettings& settings, Words words,
                                                 const engine::Vocabulary& vocabulary);
Result<std::unique_ptr<EngineHost>> start_local_engine(const ServeSettings& settings, const engine::Vocabulary& vocabulary);
// With --data-parallel-size: starts this host's ranks and waits for those of other hosts.
Result<std::unique_ptr<EngineHost>> start_ranks(const ServeSettings& settings, Words words);

// --headless: runs the ranks that the leading host says, until that ends or one of `signals`, which are
// blocked, comes.
Status run_headless(const ServeSettings& settings, Words words, const sigset_t& signals);

// Options of a model of `length` positions, as the settings want it.
model::Options model_options(const ServeSettings& settings, int length);
// Shares out a GPU's memory (engine/memory_plan.h), says how, and sets the number of blocks. `settings` must stay.
Consent memory_consent(engine::Settings& settings, int length, int rank);
// Of what a rank's cache holds; null: the settings want none.
Result<std::unique_ptr<events::Publisher>> event_publisher(const engine::Settings& settings, int rank);
// The labels' model_name.
std::string served_name(const ServeSettings& settings);

}  // namespace braid::app
