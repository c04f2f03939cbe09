// SPDX-License-Identifier: Apache-2.0
// What a family's constructor needs to turn a checkpoint into layers: kernels selected once, weights
// packed once, every choice recorded. Errors are collected: the first one is kept, later calls do
// nothing, and the builder is asked once at the end. Thread rules: one thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/mlp_weights.h"
#include "model/model.h"
#include "moe/layer.h"
#include "weights/checkpoint.h"

namespace braid::model {

// A packed linear layer and the kernel that runs it.
struct LinearLayer {
  const ops::Kernel<ops::Linear>* kernel = nullptr;
  ops::PackedWeight weight;
  Buffer bias;  // float32, or empty

  void run(const Activations& x, const Activations& y, Stream& stream, bool accumulate = false) const {
    kernel->run({&weight, x, y, 0, 0, accumulate, bias.as<float>()}, stream);
  }
};

struct MlpLayer {
  const ops::Kernel<ops::GroupedMlp>* kernel = nullptr;
  ops::PackedMlp weights;
};

// The name and shape of a checkpoint matrix.
struct MatrixName {
  std::string name;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
};

class Builder {
 public:
  Builder(const weights::Checkpoint& checkpoint, const Config& config, const Options& options,
          const ops::Backend& backend, const Progress& progress);

  const Config& config() const { return config_; }
  const Options& options() const { return options_; }
  Stream& stream() const { return *backend_.stream; }
  DType activations() const { return options_.compute == DType::kF32 ? DType::kF32 : DType::kBF16; }
  DType cache() const { return options_.f8_cache ? DType::kF8E4M3 : activations(); }
  const ops::KernelLists& lists() const { return *backend_.kernels; }

  // Matrices stacked along the outputs: one GEMM. `bias`: each has one, a vector called .bias.
  LinearLayer linear(const std::vector<MatrixName>& names, bool bias = false);
  // One batch entry per window of one matrix.
  LinearLayer batched(const std::vector<ops::Weight>& windows, bool may_quantise);
  LinearLayer router(const std::vector<MatrixName>& names, bool bias);
  MlpLayer mlp(const std::string& prefix, int inter);
  moe::Layer moe(const std::string& prefix, int layer);
  // The scratch of all MoE layers; where experts are spread over ranks, Model::regroup() completes it.
  std::unique_ptr<moe::Workspace> moe_workspace(std::int64_t max_tokens);
  // A float32 vector, times `factor`, in memory of the stream.
  Buffer vector(const std::string& name, std::int64_t size, float factor = 1.0f);
  // The table of token embeddings, as bfloat16 or float32 rows.
  Buffer embedding(const std::string& name, DType dtype);
  LinearLayer head(const std::string& name);

  // A stored matrix, which must outlive the windows made from it.
  std::optional<weights::Stored> stored(const MatrixName& name);

  template <class Op>
  const ops::Kernel<Op>* choose(std::span<const ops::Kernel<Op>> list, const typename Op::Problem& problem,
                                const std::string& description) {
    if (error_) return nullptr;
    auto selection = ops::select<Op>(list, problem, backend_.stream->capabilities(), backend_.forced);
    if (!selection.ok()) {
      error_ = selection.error();
      return nullptr;
    }
    record(Op::kName, description, selection->kernel->name, selection->candidates);
    return selection->kernel;
  }

  const std::optional<Error>& error() const { return error_; }
  void fail(Error error) {
    if (!error_) error_ = std::move(error);
  }
  std::vector<Model::ChosenKernel> take_chosen() { return std::move(chosen_); }
  std::size_t bytes() const { return bytes_; }
  const WeightCount& weight_count() const { return count_; }

 private:
  ops::WeightFormat format_of(const ops::Weight& weight, bool may_quantise) const;
  LinearLayer pack(const std::vector<ops::Weight>& parts, std::int64_t batch, ops::WeightFormat format, Buffer bias = {});
  // The biases of stacked matrices.
  Buffer biases(const std::vector<MatrixName>& names);
  std::vector<float> host_vector(const std::string& name, std::int64_t size);
  ops::PackedMlp pack_mlp(const ops::Kernel<ops::GroupedMlp>* kernel, const ops::GroupedMlp::Problem& problem, const MlpName& name);
  // For a look at its element type, or that an expert is there, on whatever rank it lives.
  std::optional<MlpWeights> peek_mlp(const MlpName& name);
  const ops::Kernel<ops::GroupedMlp>* choose_mlp(const MlpName& sample, int widest, ops::GroupedMlp::Problem& problem);
  int rank() const;
  moe::Placement placement() const;
  void record(const char* op, const std::string& problem, const char* kernel,
              const std::vector<ops::Candidate>& candidates);
  weights::Access access() const;
  // A matrix that is packed, or would be.
  void count(ops::WeightFormat format, std::int64_t parameters, bool expert = false);
  void show_progress();
  void plan_arrivals(std::size_t bytes);

  const weights::Checkpoint& checkpoint_;
  const Config& config_;
  Options options_;
  ops::Backend backend_;
  const Progress& progress_;
  std::optional<Error> error_;
  std::vector<Model::ChosenKernel> chosen_;
  std::size_t bytes_ = 0;
  std::size_t planned_arrivals_ = 0;
  WeightCount count_;
};

}  // namespace braid::model
