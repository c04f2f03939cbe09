// SPDX-License-Identifier: Apache-2.0
// What producers computed for one request. Made once, on the first question, and kept with the
// decision, so that what is sent later is accounted with the same numbers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace braid::router {

// How much of a prompt each endpoint has in its cache, by one producer.
struct PrefixMatch {
  bool known = false;                // false: the producer cannot tell (no token ids, for example)
  std::vector<std::uint64_t> keys;   // identities of the prompt's blocks
  int block_size = 0;                // tokens
  std::vector<int> blocks;           // by endpoint: blocks from the start without a miss
  std::vector<double> weighted;      // the same, each block counted by the tier it lies in

  int total() const { return static_cast<int>(keys.size()); }
  double ratio(std::size_t endpoint) const {
    return keys.empty() || !known ? 0 : weighted[endpoint] / static_cast<double>(keys.size());
  }
  std::int64_t cached_tokens(std::size_t endpoint) const {
    return known ? static_cast<std::int64_t>(blocks[endpoint]) * block_size : 0;
  }
  bool any_hit() const {
    for (const int count : blocks) {
      if (count > 0) return true;
    }
    return false;
  }
};

struct RequestData {
  std::shared_ptr<void> underway;     // counts as decided and not sent until this is let go
  std::string model;                  // after rewriting
  std::vector<PrefixMatch> prefixes;  // by producer
  std::vector<bool> looked_up;        // which of them have been asked
};

}  // namespace braid::router
