// SPDX-License-Identifier: Apache-2.0
// One Engine in front of several ranks, which come and go: every request goes to the rank that will
// get to it soonest, and goes on elsewhere when its rank is lost.
// Thread safety: every method from any thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace braid::engine {

// What is known of a rank when a request is placed. Work that was placed and not yet reported back
// is counted here, so that a burst does not all go to one rank.
struct RankLoad {
  std::int64_t queued_tokens = 0;   // prompt tokens placed there whose first token has not come
  std::int64_t running_tokens = 0;  // tokens still to be generated, at most, of unfinished requests
  double cache_use = 0;             // share of cache blocks in use
  bool healthy = true;
};

// The rank with the least queued prompt tokens, generation and cache use; ties go to the first from
// `start` on. -1 when none is healthy. One queued prompt token weighs as much as a sixteenth of a
// token to be generated, because prompts are computed in large batches; a rank whose cache is more
// than half used is charged up to four times.
int choose_rank(const std::vector<RankLoad>& ranks, std::size_t start);

// SubmitMessage::rank pins a request while that rank is there.
class BalancedEngine : public Engine {
 public:
  // The rank takes requests from now on.
  virtual void add(int rank, std::shared_ptr<Engine> engine) = 0;
  // The rank, whose engine sends nothing any more, is lost: each of its requests goes on on another
  // rank, behind the tokens that its subscriber has. One that no rank takes, or that lost several
  // ranks already, ends with kError and `reason`.
  virtual void lose(int rank, const std::string& reason) = 0;
  // The rank gets no new requests; it will be lost on purpose, which is not counted against those it
  // has then.
  virtual void retire(int rank) = 0;
  // Unfinished requests of a rank.
  virtual int requests(int rank) const = 0;
};

std::unique_ptr<BalancedEngine> balanced_engine();

}  // namespace braid::engine
