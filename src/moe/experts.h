// SPDX-License-Identifier: Apache-2.0
// The Experts half of a MoE layer: the MLPs of the local experts over the rows that a PrepareFinalize
// brought. One kind for each format of those rows.
// Thread rules: one thread.
#pragma once

#include <span>
#include <vector>

#include "moe/prepare.h"
#include "ops/grouped_mlp.h"

namespace braid::moe {

// Memory of one step, shared by all layers; grows, and stays.
class ExpertsScratch {
 public:
  // `stream` outlives it.
  ExpertsScratch(std::int64_t hidden, std::int64_t max_inter, Stream& stream)
      : hidden_(hidden), max_inter_(max_inter), stream_(stream) {}

  Matrix<float> results(std::int64_t rows);
  std::byte* mlp() const { return mlp_.data(); }  // for as many rows as results() was last asked for

  std::vector<const ops::PackedMlp*> groups;
  std::vector<std::int32_t> offsets;

 private:
  const std::int64_t hidden_, max_inter_;
  Stream& stream_;
  Buffer rows_;
  Buffer mlp_;
};

struct ExpertsArgs {
  const ops::Kernel<ops::GroupedMlp>* kernel = nullptr;
  const Dispatched* dispatched = nullptr;
  std::span<const ops::PackedMlp> experts;   // by local slot
  const ops::PackedMlp* shared = nullptr;    // of the slot behind them, or null
};

struct Experts {
  const char* name;
  Format format;
  // Results as PrepareFinalize::send_back() takes them; valid until the next run.
  Matrix<const float> (*run)(const ExpertsArgs&, ExpertsScratch&, Stream&);
};

// All kinds, one for each format.
std::span<const Experts> experts_list();
const Experts& experts_for(Format format);

}  // namespace braid::moe
