// SPDX-License-Identifier: Apache-2.0
#include "moe/expert_parallel.h"

#include <algorithm>

#include "base/log.h"
#include "moe/prepare_local.h"
#include "moe/prepare_ranks.h"

namespace braid::moe {
namespace {

struct Name {
  std::string_view name;
  All2All backend;
};

constexpr Name kNames[] = {
    {"auto", All2All::kAuto},
    {"allgather_reducescatter", All2All::kAllGatherReduceScatter},
    {"low_latency", All2All::kLowLatency},
    {"deepep_low_latency", All2All::kLowLatency},
};

}  // namespace

Result<All2All> parse_all2all(const std::string& name) {
  std::string known;
  for (const Name& n : kNames) {
    if (n.name == name) return n.backend;
    known += (known.empty() ? "" : ", ") + std::string(n.name);
  }
  return invalid_argument("--all2all-backend '" + name + "' is not one of " + known, "all2all-backend");
}

std::string_view name_of(All2All backend) {
  return std::find_if(std::begin(kNames), std::end(kNames), [&](const Name& n) { return n.backend == backend; })->name;
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
  if (shape.top_k > kMaxTopK) {
    return Error{ErrorCode::kUnimplemented, "expert parallelism handles at most " + std::to_string(kMaxTopK) +
                 " experts a token, the model uses " + std::to_string(shape.top_k), {}};
  }
  RanksOptions options;
  options.ranks = parallel->bootstrap->size();
  options.top_k = shape.top_k;
  options.hidden = shape.hidden;
  options.x = shape.x;
  options.buffer_tokens = std::min(parallel->buffer_tokens, shape.max_tokens);
  options.everywhere = parallel->backend == All2All::kAllGatherReduceScatter;
  options.deterministic = parallel->deterministic;
  const RanksLayout layout(options);
  log_info("expert parallelism", {{"all2all", options.everywhere ? "allgather_reducescatter" : "low_latency"},
                                  {"ranks", options.ranks},
                                  {"transport", parallel->transport->name()},
                                  {"buffer_tokens", options.buffer_tokens},
                                  {"buffer_bytes", layout.total}});
  ASSIGN_OR_RETURN(auto window, fabric::create_window(*parallel->bootstrap, *parallel->transport, "dispatch window",
                                                      layout.total, parallel->timeout));
  return std::unique_ptr<PrepareFinalize>(new PrepareRanks(options, std::move(window), combine, stream));
}

}  // namespace braid::moe
