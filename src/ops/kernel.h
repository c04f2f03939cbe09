// SPDX-License-Identifier: Apache-2.0
// A kernel is one entry in its backend's list for an operation. It is selected once, when a layer
// is built; the step path only calls run().
//
// An operation `Op` is a struct with nested types
//   Problem  what is known when a layer is built: dimensions and element types
//   Args     what a call needs: pointers and row counts
//   Prepare  how weights become what run() wants (a function pointer), or std::nullptr_t
// and a constant kName.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tensor/device.h"

namespace braid::ops {

template <class Op>
struct Kernel {
  const char* name;  // "avx512bf16", "reference"
  int rank;          // the highest that supports the problem is chosen; the reference has 0
  // Why this kernel can't run the problem on this device; empty when it can.
  std::string (*supports)(const typename Op::Problem&, const Capabilities&);
  void (*run)(const typename Op::Args&, Stream&);
  typename Op::Prepare prepare;
};

// One line of `braid kernels`: a candidate and why it was not taken (empty for the chosen one).
struct Candidate {
  std::string kernel;
  std::string reason;
};

template <class Op>
struct Selection {
  const Kernel<Op>* kernel = nullptr;
  std::vector<Candidate> candidates;
};

// "linear=avx2": forces a kernel for one operation, or "avx2" for every operation that has it.
using ForcedKernels = std::vector<std::string>;
std::string forced_name(const ForcedKernels& forced, std::string_view op);

// The supported kernel of highest rank, or the forced one. An error names the operation, the
// kernel and every reason. A name forced for all operations falls back where an operation lacks it.
template <class Op>
Result<Selection<Op>> select(std::span<const Kernel<Op>> list, const typename Op::Problem& problem,
                             const Capabilities& caps, const ForcedKernels& forced = {}) {
  const std::string wanted = forced_name(forced, Op::kName);
  const bool strict = std::string_view(wanted).starts_with("!");
  const std::string_view name = std::string_view(wanted).substr(strict ? 1 : 0);
  Selection<Op> selection;
  const Kernel<Op>* best = nullptr;
  const Kernel<Op>* named = nullptr;
  std::string reasons;
  for (const auto& kernel : list) {
    const std::string reason = kernel.supports(problem, caps);
    reasons += std::string(reasons.empty() ? "" : "; ") + kernel.name + ": " +
               (reason.empty() ? "supported" : reason);
    selection.candidates.push_back({kernel.name, reason});
    if (!reason.empty()) continue;
    if (!name.empty() && name == kernel.name) named = &kernel;
    if (!best || kernel.rank > best->rank) best = &kernel;
  }
  if (strict && !named) {
    return invalid_argument("kernel '" + std::string(name) + "' can't run " + Op::kName + " here (" +
                            reasons + ")", "kernel");
  }
  selection.kernel = named ? named : best;
  if (!selection.kernel) {
    return Error{ErrorCode::kUnimplemented,
                 std::string("no kernel for ") + Op::kName + " (" + reasons + ")", "kernel"};
  }
  for (auto& candidate : selection.candidates) {
    if (!candidate.reason.empty() || candidate.kernel == selection.kernel->name) continue;
    candidate.reason = named ? "another kernel was forced" : "lower rank";
  }
  return selection;
}

}  // namespace braid::ops
