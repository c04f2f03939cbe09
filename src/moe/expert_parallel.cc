// SPDX-License-Identifier: Apache-2.0
#include "moe/expert_parallel.h"

#include <algorithm>

#include "base/log.h"
#include "moe/prepare_local.h"
#include "moe/prepare_ranks.h"

namespace braid::moe {
namespace {

constexpr std::int64_t kSlabBytes = std::int64_t{32} << 20;

RanksOptions options_of(All2All backend, const LayerShape& shape, const ExpertParallel& parallel) {
  RanksOptions o;
  o.ranks = parallel.bootstrap->size();
  o.top_k = shape.top_k;
  o.hidden = shape.hidden;
  o.x = shape.x;
  o.buffer_tokens = std::min(parallel.buffer_tokens, shape.max_tokens);
  o.staging_tokens = shape.max_tokens;
  o.everywhere = backend == All2All::kAllGatherReduceScatter;
  o.packed = backend == All2All::kHighThroughput;
  o.padded = backend == All2All::kFlexible;
  o.deterministic = parallel.deterministic;
  o.fp8 = parallel.payload == Payload::kFp8 && !parallel.deterministic;
  const bool half = shape.x == DType::kBF16 && parallel.payload != Payload::kExact && !parallel.deterministic;
  o.returns = half ? DType::kBF16 : DType::kF32;
  if (o.padded) {
    o.local_slots = Placement::linear(shape.experts, o.ranks, parallel.redundant_experts).slots_per_rank();
    const auto row = static_cast<std::int64_t>(RanksLayout(o).row_bytes);
    o.buffer_tokens = std::clamp<std::int64_t>(kSlabBytes / (row * o.local_slots * o.ranks), 1, o.buffer_tokens);
  }
  return o;
}

std::string payload_text(const RanksOptions& o) {
  return (o.fp8 ? "fp8" : std::string(braid::name_of(o.x))) + " out, " + std::string(braid::name_of(o.returns)) + " back";
}

void announce(const Choice& choice, const RanksOptions& o, const ExpertParallel& parallel) {
  const RanksLayout layout(o);
  log_info("expert parallelism", {{"all2all", name_of(choice.backend)},
                                  {"why", choice.why},
                                  {"ranks", o.ranks},
                                  {"transport", parallel.transport->name()},
                                  {"payload", payload_text(o)},
                                  {"tokens_per_dispatch", o.buffer_tokens},
                                  {"window_bytes", layout.total},
                                  {"private_bytes", layout.decoded + layout.slabs}});
}

}  // namespace

Messages messages_of(const LayerShape& shape, int ranks, bool direct, std::int64_t buffer_tokens) {
  return {ranks, shape.top_k, direct, std::min(buffer_tokens, shape.max_tokens),
          static_cast<std::size_t>(shape.hidden) * size_of(shape.x)};
}

Result<std::unique_ptr<PrepareFinalize>> make_prepare(const LayerShape& shape, const ExpertParallel* parallel,
                                                      const ops::Kernel<ops::Arrange>* arrange,
                                                      const ops::Kernel<ops::Combine>* combine, Stream& stream) {
  if (parallel && !stream.unified()) {
    return Error{ErrorCode::kUnimplemented, "experts can't be spread over ranks on device " +
                 stream.capabilities().device + "; leave --enable-expert-parallel out or use --device cpu", "enable-expert-parallel"};
  }
  if (!parallel) {
    return std::unique_ptr<PrepareFinalize>(
        new PrepareLocal(shape.experts, shape.top_k, shape.shared, shape.max_tokens, arrange, combine, stream));
  }
  // A group that shrinks to one rank keeps the road it knows.
  const int ranks = std::max(2, parallel->bootstrap->size());
  const bool direct = parallel->transport->capabilities().direct;
  ASSIGN_OR_RETURN(const Choice choice, choose_backend(parallel->backend, messages_of(shape, ranks, direct, parallel->buffer_tokens)));
  const RanksOptions options = options_of(choice.backend, shape, *parallel);
  announce(choice, options, *parallel);
  ASSIGN_OR_RETURN(auto window, fabric::create_window(*parallel->bootstrap, *parallel->transport, "dispatch window",
                                                      RanksLayout(options).total, parallel->timeout));
  return std::unique_ptr<PrepareFinalize>(new PrepareRanks(name_of(choice.backend), options, std::move(window), combine, stream));
}

}  // namespace braid::moe
