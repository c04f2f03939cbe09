// SPDX-License-Identifier: Apache-2.0
// A language model as the engine sees it: tokens in, logits out, keys and values in a paged cache.
// Thread rules: one thread calls forward() at a time.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/timeline.h"
#include "kv/cache.h"
#include "model/batch.h"
#include "model/config.h"
#include "moe/prepare.h"
#include "ops/backend.h"

namespace braid::weights {
class Checkpoint;
}
namespace braid::moe {
struct ExpertParallel;
class Layer;
}

namespace braid::model {

struct Options {
  DType compute = DType::kBF16;  // kF32: everything in float32, weights too
  bool int8_activations = false;
  bool f8_activations = false;  // kernels may round inputs of FP8 weights to e4m3
  bool f8_cache = false;        // keys and values as ops/fp8_row.h has them
  std::int32_t max_model_len = 0;
  std::int32_t max_batched_tokens = 0;  // most rows of one forward()
  std::int32_t max_sequences = 0;       // most decode rows
  // Spreads the experts over ranks; null: one rank holds all. build() loads a share by the rank and
  // the size of its group; regroup() must follow before the first step, and the checkpoint must
  // outlive the model.
  const moe::ExpertParallel* experts = nullptr;
  Timeline* timeline = nullptr;    // learns what each layer does when; null: nobody asks
  bool two_micro_batches = false;  // forward() may be asked to; with `experts`
  bool draft_module = false;            // build the checkpoint's own; an error without one
  // Reads no matrix: says whether the checkpoint has what the model needs, which kernels run it and how many
  // bytes it takes. Nothing but that may be asked of such a model.
  bool plan = false;
};

// Of matrices. Experts are the routed ones, which are part of the rest.
struct WeightCount {
  std::int64_t parameters = 0;
  std::int64_t expert_parameters = 0;
  std::size_t expert_bytes = 0;  // of weight_bytes()
};

// What tests look at; every member may be empty. Called with layer -1 for the embedding output.
struct Trace {
  std::function<void(int layer, Matrix<const float> hidden)> hidden;
  std::function<void(int layer, Matrix<const float> logits, std::span<const std::int32_t> ids,
                     std::span<const float> weights, int top_k)> routing;
};

// Which hidden states a draft starts from.
enum class DraftFrom {
  kForward,  // those of the batch that the last forward() computed, by token row
  kDraft,    // those of the rows whose logits the last draft() gave, in their order
};

// A model's own small module that guesses what follows the token it would say next.
class DraftModule {
 public:
  virtual ~DraftModule() = default;
  // Row r of the batch joins hidden state `sources[r]`, of the token at positions[r], with
  // token_ids[r], the token after it. Its keys and values go to the module's own layer of the cache;
  // its logits guess the token at positions[r] + 2. A forward()'s states serve one draft() only. The
  // result is valid until the next call of the module or its model.
  virtual Result<Matrix<const float>> draft(const Batch& batch, std::span<const std::int32_t> sources, DraftFrom from,
                                            kv::Cache& cache) = 0;
};

class Model {
 public:
  virtual ~Model() = default;
  virtual const Config& config() const = 0;
  // What the cache must provide: rows per layer. Its groups are the caller's choice (Layout::grouped()).
  virtual kv::Layout cache_layout() const = 0;
  // Computes the batch, stores its keys and values in `cache`, which is the same one in all steps (a
  // stream repeats what it recorded of a step like it, so it serves one model), and returns float32 logits
  // [logit_rows, vocabulary] on the host, valid until the next call. A batch without tokens is legal: with
  // expert parallelism an idle rank still serves its experts to the others. An error (a device or a
  // peer that failed) leaves the cache rows of this batch undefined.
  virtual Result<Matrix<const float>> forward(const Batch& batch, kv::Cache& cache, const Trace* trace = nullptr) = 0;
  // Whether forward() follows the batch's draws, which keeps logits that nobody wants to see where they are.
  virtual bool chooses() const { return false; }
  // The tokens that the last forward() chose, one a row of logits, -1 if none is possible; empty without draws. The
  // logits of these rows are undefined.
  virtual std::span<const std::int32_t> chosen() const { return {}; }
  // What the MoE layers have sent and received so far.
  virtual moe::Traffic traffic() const { return {}; }
  // Where experts are spread: takes up its part in a group of ranks, and loads the experts that no rank
  // of it holds. Collective, between steps; again whenever other ranks take part.
  virtual Status regroup(const moe::ExpertParallel&) {
    return Error{ErrorCode::kUnimplemented, "this model cannot spread its experts over ranks", {}};
  }
  // Null unless the options asked for it and the checkpoint has one.
  virtual DraftModule* draft_module() { return nullptr; }
  // Its mixture-of-experts layers in their order, the draft module's last.
  virtual std::vector<moe::Layer*> mixtures() { return {}; }
  // Bytes of weights held (packed), and a line per distinct operation saying which kernel runs it.
  virtual std::size_t weight_bytes() const = 0;
  virtual WeightCount weight_count() const { return {}; }
  struct ChosenKernel {
    std::string op, problem, kernel;
    std::vector<ops::Candidate> candidates;
  };
  virtual const std::vector<ChosenKernel>& chosen_kernels() const = 0;
};

// Builds the family named by the checkpoint's config.json ("architectures"). `progress` is told
// bytes done and bytes in all. Errors name file, tensor, expected and found.
using Progress = std::function<void(std::size_t done, std::size_t total)>;
Result<std::unique_ptr<Model>> build(const weights::Checkpoint& checkpoint, const Options& options,
                                     const ops::Backend& backend, const Progress& progress = {});

}  // namespace braid::model
