// SPDX-License-Identifier: Apache-2.0
#include "engine/lockstep.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

namespace braid::engine {
namespace {

Error maps_differ(fabric::Rank rank, std::uint64_t own, std::size_t peer, std::uint64_t theirs) {
  return internal_error("rank " + std::to_string(rank) + " and rank " + std::to_string(peer) +
                        " disagree on which rank holds which expert (checksums " + std::to_string(own) + " and " +
                        std::to_string(theirs) + "); answers would be wrong, restart all ranks");
}

}  // namespace

Result<std::unique_ptr<Lockstep>> Lockstep::create(fabric::Bootstrap& bootstrap, fabric::Transport& transport,
                                                   Duration timeout) {
  ASSIGN_OR_RETURN(auto messages, fabric::AllGather::create(bootstrap, transport, sizeof(StepMessage), timeout));
  return std::unique_ptr<Lockstep>(new Lockstep(std::move(messages)));
}

Result<Agreement> Lockstep::agree(const StepMessage& mine) {
  RETURN_IF_ERROR(messages_->post(std::as_bytes(std::span(&mine, 1))));
  ASSIGN_OR_RETURN(const std::span<const std::byte> all, messages_->collect({"agreement on a step"}));
  const std::size_t stride = all.size() / static_cast<std::size_t>(messages_->size());
  Agreement agreed{0, 0, std::numeric_limits<std::uint64_t>::max()};
  agreed.overlap = true;
  for (std::size_t r = 0; r * stride < all.size(); ++r) {
    StepMessage message;
    std::memcpy(&message, all.data() + r * stride, sizeof message);
    agreed.most_tokens = std::max(agreed.most_tokens, message.tokens);
    agreed.all_tokens += message.tokens;
    agreed.staged = std::min(agreed.staged, message.staged);
    if (message.maps != mine.maps) return maps_differ(messages_->rank(), mine.maps, r, message.maps);
    agreed.overlap = agreed.overlap && message.wants_overlap;
  }
  return agreed;
}

}  // namespace braid::engine
