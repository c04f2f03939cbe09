// SPDX-License-Identifier: Apache-2.0
#include "moe/expert_parallel.h"

#include <algorithm>

#include "base/log.h"
#include "moe/prepare_device.h"
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

Result<ops::Exchange::Options> exchange_options(All2All backend, const LayerShape& shape, const ExpertParallel& parallel, const Stream& stream) {
  const auto refuse = [&](const std::string& what) {
    return Error{ErrorCode::kUnimplemented, "experts can't be spread over ranks on device " + stream.capabilities().device + what, "enable-expert-parallel"};
  };
  if (!shape.exchange) return refuse("; leave --enable-expert-parallel out or use --device cpu");
  if (shape.x != DType::kBF16) return refuse(" in " + std::string(braid::name_of(shape.x)) + "; use --dtype bfloat16");
  if (backend == All2All::kFlexible) return refuse(" by flexible; use --all2all-backend low_latency or high_throughput");
  const RanksOptions ranks = options_of(backend, shape, parallel);
  ops::Exchange::Options o;
  o.ranks = ranks.ranks;
  o.rank = parallel.bootstrap->rank();
  o.top_k = ranks.top_k;
  o.slots = shape.experts + parallel.redundant_experts;
  o.hidden = ranks.hidden;
  o.tokens = ranks.buffer_tokens;
  o.staging_tokens = ranks.staging_tokens;
  o.fp8 = ranks.fp8;
  o.everywhere = ranks.everywhere;
  o.row_per_choice = ranks.deterministic;
  o.returns = ranks.returns;
  o.output = ranks.packed || ranks.fp8 ? ops::Exchange::Output::kGrouped : ops::Exchange::Output::kInPlace;
  o.timeout = parallel.timeout;
  o.given_up = [lost = parallel.bootstrap->given_up()] { return lost && lost->load(std::memory_order_acquire); };
  return o;
}

// The ranks' devices exchange rows themselves.
Result<std::unique_ptr<PrepareFinalize>> make_device_prepare(const Choice& choice, const LayerShape& shape, const ExpertParallel& parallel, Stream& stream) {
  ASSIGN_OR_RETURN(const auto options, exchange_options(choice.backend, shape, parallel, stream));
  ASSIGN_OR_RETURN(auto exchange, shape.exchange(options, stream));
  log_info("expert parallelism", {{"all2all", name_of(choice.backend)},
                                  {"why", choice.why},
                                  {"ranks", options.ranks},
                                  {"transport", "memory of " + stream.capabilities().device + " devices"},
                                  {"payload", (options.fp8 ? "fp8 out, " : "bf16 out, ") + std::string(braid::name_of(options.returns)) + " back"},
                                  {"tokens_per_dispatch", options.tokens},
                                  {"device_bytes", exchange->bytes()}});
  ASSIGN_OR_RETURN(const auto descriptors, parallel.bootstrap->all_gather(exchange->descriptor()));
  RETURN_IF_ERROR(exchange->connect(descriptors));
  // Nobody writes before everybody has connected.
  RETURN_IF_ERROR(parallel.bootstrap->all_gather("connected"));
  return std::unique_ptr<PrepareFinalize>(new PrepareDevice(name_of(choice.backend), options, std::move(exchange)));
}

}  // namespace

Messages messages_of(const LayerShape& shape, int ranks, bool direct, std::int64_t buffer_tokens) {
  return {ranks, shape.top_k, direct, std::min(buffer_tokens, shape.max_tokens),
          static_cast<std::size_t>(shape.hidden) * size_of(shape.x)};
}

std::size_t device_bytes(const LayerShape& shape, const ExpertParallel& parallel, std::int64_t widest) {
  const int ranks = std::max(2, parallel.bootstrap->size());
  const auto choice = choose_backend(parallel.backend, messages_of(shape, ranks, true, parallel.buffer_tokens));
  if (!choice.ok()) return 0;
  const RanksOptions o = options_of(choice->backend, shape, parallel);
  const int slots = Placement::linear(shape.experts, ranks, parallel.redundant_experts).slots_per_rank();
  const std::int64_t pairs = ranks * o.buffer_tokens * std::min(shape.top_k, slots);
  const auto row = static_cast<std::int64_t>(size_of(shape.x)) * shape.hidden;
  const std::int64_t arriving = ranks * o.buffer_tokens * row + (o.packed || o.fp8 ? pairs : shape.max_tokens) * row;
  const std::int64_t returning = ranks * o.buffer_tokens * shape.hidden * static_cast<std::int64_t>(size_of(o.returns));
  const std::int64_t results = pairs * shape.hidden * static_cast<std::int64_t>(sizeof(float));
  return static_cast<std::size_t>(arriving + returning + results) + ops::GroupedMlp::scratch_bytes(pairs, widest);
}

Result<std::unique_ptr<PrepareFinalize>> make_prepare(const LayerShape& shape, const ExpertParallel* parallel,
                                                      const ops::Kernel<ops::Arrange>* arrange,
                                                      const ops::Kernel<ops::Combine>* combine, Stream& stream) {
  if (!parallel) {
    return std::unique_ptr<PrepareFinalize>(
        new PrepareLocal(shape.experts, shape.top_k, shape.shared_is_slot(), shape.max_tokens, arrange, combine, stream));
  }
  // A group that shrinks to one rank keeps the road it knows.
  const int ranks = std::max(2, parallel->bootstrap->size());
  const bool direct = !stream.unified() || parallel->transport->capabilities().direct;
  ASSIGN_OR_RETURN(const Choice choice, choose_backend(parallel->backend, messages_of(shape, ranks, direct, parallel->buffer_tokens)));
  if (!stream.unified()) return make_device_prepare(choice, shape, *parallel, stream);
  const RanksOptions options = options_of(choice.backend, shape, *parallel);
  announce(choice, options, *parallel);
  ASSIGN_OR_RETURN(auto window, fabric::create_window(*parallel->bootstrap, *parallel->transport, "dispatch window",
                                                      RanksLayout(options).total, parallel->timeout));
  return std::unique_ptr<PrepareFinalize>(new PrepareRanks(name_of(choice.backend), options, std::move(window), combine, stream));
}

}  // namespace braid::moe
