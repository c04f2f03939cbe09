// SPDX-License-Identifier: Apache-2.0
#include "moe/backends.h"

#include <algorithm>

#include "moe/all2all/costs.h"
#include "moe/all2all/ticket.h"

namespace braid::moe {
namespace {

struct Name {
  std::string_view name;
  All2All backend;
};

constexpr Name kNames[] = {
    {"auto", All2All::kAuto},
    {"allgather_reducescatter", All2All::kAllGatherReduceScatter},
    {"high_throughput", All2All::kHighThroughput},
    {"low_latency", All2All::kLowLatency},
    {"flexible", All2All::kFlexible},
    {"deepep_high_throughput", All2All::kHighThroughput},
    {"deepep_low_latency", All2All::kLowLatency},
    {"pplx", All2All::kFlexible},
};

struct Prepare {
  std::string_view name;
  All2All backend;  // kAuto: the one of a single rank
  Format format;
};

constexpr Prepare kPrepares[] = {
    {"local", All2All::kAuto, Format::kRagged},
    {"low_latency", All2All::kLowLatency, Format::kRagged},
    {"high_throughput", All2All::kHighThroughput, Format::kRagged},
    {"flexible", All2All::kFlexible, Format::kPadded},
    {"allgather_reducescatter", All2All::kAllGatherReduceScatter, Format::kRagged},
};

// Why a PrepareFinalize can't be used at all; empty: it can.
std::string refusal(const Prepare& p, const Messages& m) {
  if (p.backend == All2All::kAuto) return m.ranks > 1 ? "the experts are spread over " + std::to_string(m.ranks) + " ranks" : "";
  if (m.ranks == 1) return "a single rank has nothing to send";
  if (m.top_k > kMaxTopK) return "a token has " + std::to_string(m.top_k) + " experts, at most " + std::to_string(kMaxTopK) + " can be addressed";
  return {};
}

std::string reason_for(const Prepare& p, const Experts& e, const Choice& choice, const Messages& m) {
  if (p.format != e.format) return "rows come " + std::string(name_of(p.format)) + ", " + e.name + " experts take them " + std::string(name_of(e.format));
  if (const std::string no = refusal(p, m); !no.empty()) return no;
  return p.backend == choice.backend ? "" : choice.why;
}

}  // namespace

Traffic& Traffic::operator+=(const Traffic& o) {
  dispatches += o.dispatches;
  tokens += o.tokens;
  dispatched_bytes += o.dispatched_bytes;
  returned_bytes += o.returned_bytes;
  pairs += o.pairs;
  padding_rows += o.padding_rows;
  dispatch_seconds += o.dispatch_seconds;
  combine_seconds += o.combine_seconds;
  wait_seconds.resize(std::max(wait_seconds.size(), o.wait_seconds.size()));
  for (std::size_t r = 0; r < o.wait_seconds.size(); ++r) wait_seconds[r] += o.wait_seconds[r];
  return *this;
}

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

Result<Payload> parse_payload(const std::string& name) {
  if (name == "auto") return Payload::kAuto;
  if (name == "exact") return Payload::kExact;
  if (name == "fp8") return Payload::kFp8;
  return invalid_argument("--all2all-payload '" + name + "' is not one of auto, exact, fp8", "all2all-payload");
}

Result<Choice> choose_backend(All2All wanted, const Messages& m) {
  Choice choice{wanted, "--all2all-backend is " + std::string(name_of(wanted)), {}};
  if (m.ranks == 1) {
    choice = {All2All::kAuto, "a single rank", {}};
  } else if (wanted == All2All::kAuto) {
    const std::size_t bytes = static_cast<std::size_t>(m.tokens) * m.row_bytes;
    choice.backend = cheapest(m.direct, bytes);
    choice.why = "auto takes " + std::string(name_of(choice.backend)) + " for messages of up to " + std::to_string(bytes) + " bytes " +
                 (m.direct ? "through shared memory" : "over a network");
  }
  bool taken = false;
  for (const Prepare& p : kPrepares) {
    for (const Experts& e : experts_list()) {
      choice.pairs.push_back({p.name, e.name, reason_for(p, e, choice, m)});
      taken = taken || choice.pairs.back().reason.empty();
    }
  }
  if (taken) return choice;
  const auto named = std::find_if(std::begin(kPrepares), std::end(kPrepares), [&](const Prepare& p) { return p.backend == choice.backend; });
  return Error{ErrorCode::kUnimplemented, "expert parallelism by " + std::string(named->name) + ": " + refusal(*named, m), {}};
}

}  // namespace braid::moe
