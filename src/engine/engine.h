// SPDX-License-Identifier: Apache-2.0
// The engine: one thread that owns sequences, cache and model, and steps
//   receive -> schedule -> run -> commit -> emit.
// Thread safety: every method may be called from any thread. Destroying the engine aborts what runs.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/timeline.h"
#include "engine/lockstep.h"
#include "engine/messages.h"
#include "engine/metrics.h"
#include "engine/settings.h"
#include "model/model.h"
#include "text/grammar.h"
#include "text/tokenizer.h"

namespace braid::moe {
class Rebalancer;
}
namespace braid::events {
class Publisher;
}
namespace braid::transfer {
class Node;
}

namespace braid::engine {

struct Stats {
  std::int32_t running = 0;
  std::int32_t waiting = 0;
  std::int32_t blocks_total = 0;
  std::int32_t blocks_used = 0;    // referenced by a live sequence; 0 when idle
  std::int32_t blocks_cached = 0;  // free, with reusable content
  std::uint64_t steps = 0;
  bool healthy = true;
  std::string failure;  // why not
};

// Token facts that sampling needs; from the tokenizer and generation_config.json.
struct Vocabulary {
  std::int32_t size = 0;                   // rows of the logits
  std::vector<std::int32_t> eos_ids;       // end a sequence unless ignore_eos
  std::shared_ptr<const text::GrammarCompiler> grammars;  // null: structured output is refused
  // Token sequences of a bad word; null: bad_words are refused.
  std::function<std::vector<std::vector<std::int32_t>>(const std::string&)> encode_bad_word;
  std::shared_ptr<const text::Tokenizer> tokenizer;  // null: reasoning has no limits, and tools are not strict
};

// A request that may be submitted to the engine that admitted it.
struct Admitted {
  virtual ~Admitted() = default;
};

class Engine {
 public:
  virtual ~Engine() = default;

  // Makes a request of what a client wants: refuses what can never be served (kInvalidArgument with
  // the number that would fit) and compiles the grammar, if any. May take milliseconds.
  virtual Result<std::unique_ptr<Admitted>> admit(SubmitMessage message) = 0;

  // Hands an admitted request to the engine thread, and returns the id that messages will carry.
  // Refuses with kResourceExhausted when too many wait, kUnavailable while draining or dead. Quick: an
  // engine in another process takes what its rank may refuse, then by a message with kError.
  virtual Result<RequestId> submit(std::unique_ptr<Admitted> request) = 0;

  // Ends the request: its blocks are free within one step. Unknown or finished ids are ignored.
  // `index` -1 cancels all choices. Cancelled choices get no further message.
  virtual void cancel(RequestId request, int index = -1) = 0;

  virtual Stats stats() const = 0;
  virtual std::int32_t max_model_len() const = 0;
  // Forgets cached prefixes that no sequence uses.
  virtual void reset_prefix_cache() = 0;

  // No new requests; waits until the running ones end or `timeout` passes, then aborts the rest.
  virtual void drain(Duration timeout) = 0;
};

// What an engine works with; null: without. All of it outlives the engine.
struct Company {
  Lockstep* lockstep = nullptr;           // if the model spans ranks
  moe::Rebalancer* rebalancer = nullptr;  // if its experts move
  events::Publisher* events = nullptr;    // of what the cache holds
  transfer::Node* node = nullptr;         // what exchanges blocks with other engines; opened, not started
  Timeline* timeline = nullptr;           // of its steps
};

// `metrics` and `clock` outlive the engine. The cache is sized as engine/cache_size.h says; ask
// check_cache() there first. Settings::scheduler.max_model_len should be the model's limit or less.
// Errors: memory for the cache that other engines can read is not to be had.
Result<std::unique_ptr<Engine>> start(std::unique_ptr<model::Model> model, Vocabulary vocabulary,
                                      const Settings& settings, Metrics& metrics, const Clock& clock,
                                      const Company& company = {});

}  // namespace braid::engine
