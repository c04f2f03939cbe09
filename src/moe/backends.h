// SPDX-License-Identifier: Apache-2.0
// The all-to-all backends, the kinds of Experts, and which pair of them a layer gets. Names follow
// vLLM's --all2all-backend.
#pragma once

#include <string>
#include <vector>

#include "moe/experts.h"

namespace braid::moe {

enum class All2All { kAuto, kAllGatherReduceScatter, kHighThroughput, kLowLatency, kFlexible };

// "auto", "low_latency", "deepep_low_latency", ...; an unknown name is an error that lists all.
Result<All2All> parse_all2all(const std::string& name);
std::string_view name_of(All2All backend);

// What rows look like on their way. kAuto: activations as they are, results as bfloat16 where
// activations are. kExact: results as float32. kFp8: activations as e4m3 with a scale for 128
// columns, results as with kAuto.
enum class Payload { kAuto, kExact, kFp8 };
Result<Payload> parse_payload(const std::string& name);

// What is known of the messages when a layer is built.
struct Messages {
  int ranks = 1;              // 1: nothing travels
  int top_k = 0;
  bool direct = true;         // stores reach every peer
  std::int64_t tokens = 0;    // most of one dispatch
  std::size_t row_bytes = 0;
};

// A PrepareFinalize and an Experts, and why they are not taken; empty: they are.
struct Pair {
  std::string_view prepare, experts;
  std::string reason;
};

struct Choice {
  All2All backend = All2All::kAuto;  // not kAuto, unless nothing travels
  std::string why;
  std::vector<Pair> pairs;  // every combination
};

// Errors: no legal pair for `wanted`.
Result<Choice> choose_backend(All2All wanted, const Messages& messages);

}  // namespace braid::moe
