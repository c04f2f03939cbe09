// SPDX-License-Identifier: Apache-2.0
// The part of `braid bench engine` that measures speculative decoding: on chats, as drafts of random
// tokens would never come true.
#pragma once

#include <vector>

#include "app/load.h"
#include "engine/settings.h"

namespace braid::app {

// Longest chat of the measurement, prompt and answer.
inline constexpr int kChatTokens = 256;

// Decode rates without drafts, with each fixed number of them, and with the number that the engine
// would choose by itself, in turns over the same chats. Prints a line a case, and before them what the
// parts of a step take by rows. `seconds` per case.
Status bench_speculation(const LoadedModel& loaded,
                         const ModelSettings& model,
                         const engine::SpeculativeSettings& speculation,
                         const std::vector<int>& batches,
                         double seconds);

}  // namespace braid::app
