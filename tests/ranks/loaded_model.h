// SPDX-License-Identifier: Apache-2.0
// A model of a rank that is a thread: loaded, in its group of ranks if there is one, with a cache of
// one sequence's blocks.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "backend/cpu/backend.h"
#include "model/model.h"
#include "moe/expert_parallel.h"
#include "weights/checkpoint.h"
#include "weights/quantise.h"

namespace braid {

struct LoadedModel {
  static constexpr int kBlock = 16, kBlocks = 16;
  std::unique_ptr<Stream> stream;
  std::unique_ptr<weights::Checkpoint> checkpoint;
  std::unique_ptr<model::Model> model;
  std::optional<kv::Cache> cache;
  std::vector<std::int32_t> table = std::vector<std::int32_t>(kBlocks);

  // lexicon-30m, a golden model or a folder; `fp8`: quantised while it is read. Lengths are set here, the
  // rest of `options` is the test's. Without kernels and a stream: the CPU's, one thread.
  LoadedModel(const std::string& name, const model::Options& options, bool fp8 = false)
      : LoadedModel(name, options, cpu::kernels(), cpu::make_stream({.threads = 1}), fp8) {}
  LoadedModel(const std::string& name, model::Options options, const ops::KernelLists& kernels, std::unique_ptr<Stream> on, bool fp8 = false)
      : stream(std::move(on)) {
    const std::string folder = name.starts_with("/") ? name : name == "lexicon-30m" ? std::string(BRAID_SOURCE_DIR) + "/models/lexicon-30m"
                                                     : std::string(BRAID_BINARY_DIR) + "/golden/models/" + name;
    checkpoint = weights::open_checkpoint(folder).value();
    if (fp8) checkpoint = weights::quantised_fp8(std::move(checkpoint));
    options.max_model_len = options.max_batched_tokens = 64;
    options.max_sequences = 8;
    auto built = model::build(*checkpoint, options, {&kernels, stream.get(), {}});
    EXPECT_TRUE(built.ok()) << built.error().message;
    model = std::move(built).value();
    cache.emplace(model->cache_layout(), kBlocks, kBlock);
    std::iota(table.begin(), table.end(), 0);
    if (!options.experts) return;
    const Status grouped = model->regroup(*options.experts);
    EXPECT_TRUE(grouped.ok()) << grouped.error().message;
  }
};

}  // namespace braid
