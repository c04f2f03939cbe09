// SPDX-License-Identifier: Apache-2.0
// What travels between the serving threads and the engine thread: plain data, nothing shared.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "protocol/sampling_params.h"
#include "sample/logprobs.h"

namespace braid::engine {

using RequestId = std::uint64_t;  // made by the engine, never reused

using sample::TokenLogprob;  // token, logprob, rank (1 = most likely)

// The chosen token first, then the top alternatives in descending order (the chosen one may occur
// again among them).
using PositionLogprobs = std::vector<TokenLogprob>;

// Seconds that an ended choice spent, one part after the other.
struct Timing {
  double queued = 0;    // from arrival until its keys and values were read or computed; or until its end, if they never were
  double transfer = 0;  // reading those that another engine had
  double prefill = 0;   // until its first token
  double decode = 0;    // until its last
  std::int64_t transfer_bytes = 0;
};

// What one choice (0 <= index < n) gained: a token, or how it ended, or neither, but word of its blocks. One
// step may bring several.
struct TokenMessage {
  RequestId request = 0;
  int index = 0;
  std::vector<std::int32_t> tokens;
  std::vector<PositionLogprobs> logprobs;                        // one per token when asked for
  std::vector<std::optional<PositionLogprobs>> prompt_logprobs;  // once, in index 0's first message
  protocol::FinishReason finish = protocol::FinishReason::kNone;
  std::optional<std::int32_t> stop_token;  // the stop id that ended it, if one did (not eos)
  Error error;                             // with kError, and with kAbort by the engine
  std::optional<Timing> timing;            // with the end
  std::int32_t cached_tokens = 0;          // prompt tokens that this cache or another engine's held
  std::string kv_transfer_params;          // JSON, with the end, and early where that is asked for: where another engine finds the blocks
};

// Receives a request's messages. Called on the engine thread, once per step with all messages of
// that step and subscriber; must not block. After the message with a finish reason for every index
// nothing more comes.
class Subscriber {
 public:
  virtual ~Subscriber() = default;
  virtual void on_tokens(std::vector<TokenMessage>&& messages) = 0;
};

// How far a choice came on another engine, whose subscriber has these tokens already.
struct Progress {
  std::vector<std::int32_t> tokens;
  bool ended = false;
};

struct SubmitMessage {
  std::vector<std::int32_t> prompt;
  std::vector<Progress> progress;  // one a choice, or empty: from the start
  protocol::SamplingParams params;
  std::int32_t priority = 0;  // lower first, with the priority policy
  std::string cache_salt;
  std::string kv_transfer_params;  // JSON, as transfer/wire.h says; empty: none
  std::optional<TimePoint> deadline;  // finished with kAbort when it passes
  std::string request_id;             // the client's, for logs
  std::optional<int> rank;            // the data-parallel rank it must run on
  std::shared_ptr<Subscriber> subscriber;
};

}  // namespace braid::engine
