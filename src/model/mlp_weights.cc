// SPDX-License-Identifier: Apache-2.0
#include "model/mlp_weights.h"

#include <cstring>
#include <memory>

namespace braid::model {

using weights::Access;

ops::Weight weight_of(const weights::Stored& stored) {
  ops::Weight weight(stored.values, stored.scales, stored.block);
  weight.block_rows = stored.block_rows;
  return weight;
}

namespace {

// A matrix of twice as many rows, gate, up, gate, ..., is one of twice as many columns.
void split_rows(const weights::Stored& stored, MlpWeights& found) {
  const auto paired = [](TensorView view) {
    view.shape = {view.rows() / 2, 2 * view.cols()};
    return view;
  };
  const bool scaled = stored.scales.data != nullptr;
  const ops::Weight both(paired(stored.values), scaled ? paired(stored.scales) : TensorView{}, stored.block);
  const std::int64_t half = both.cols / 2;
  found.gate = both.window(0, both.rows, 0, half);
  found.up = both.window(0, both.rows, half, half);
}

// The outputs of a plain matrix [inputs, outputs] as rows, every second one of them first.
std::shared_ptr<std::vector<std::byte>> sorted_outputs(const TensorView& view) {
  const std::size_t size = size_of(view.dtype);
  const std::int64_t inputs = view.rows(), outputs = view.cols(), half = outputs / 2;
  auto sorted = std::make_shared<std::vector<std::byte>>(static_cast<std::size_t>(inputs * outputs) * size);
  const auto* from = static_cast<const std::byte*>(view.data);
  for (std::int64_t n = 0; n < outputs; ++n) {
    const std::int64_t column = n < half ? 2 * n : 2 * (n - half) + 1;
    for (std::int64_t k = 0; k < inputs; ++k) {
      std::memcpy(sorted->data() + static_cast<std::size_t>(n * inputs + k) * size, from + static_cast<std::size_t>(k * outputs + column) * size, size);
    }
  }
  return sorted;
}

void split_columns(weights::Stored& stored, MlpWeights& found) {
  const std::int64_t inputs = stored.values.rows(), half = stored.values.cols() / 2;
  if (stored.values.data) {
    auto sorted = sorted_outputs(stored.values);
    stored.values.data = sorted->data();
    stored.owner = std::move(sorted);
  }
  stored.values.shape = {2 * half, inputs};
  const ops::Weight rows = weight_of(stored);
  found.gate = rows.window(0, half, 0, inputs);
  found.up = rows.window(half, half, 0, inputs);
}

Result<std::vector<float>> alternating_biases(const weights::Checkpoint& checkpoint, const Config& c, const MlpName& name, Access access) {
  const std::int64_t inter = name.inter;
  ASSIGN_OR_RETURN(const auto both, checkpoint.matrix(name.prefix + ".experts.gate_up_proj_bias", c.moe.experts, 2 * inter, access));
  ASSIGN_OR_RETURN(const auto down, checkpoint.matrix(name.prefix + ".experts.down_proj_bias", c.moe.experts, c.hidden, access));
  std::vector<float> bias;
  if (access == Access::kLook) return std::vector<float>(static_cast<std::size_t>(2 * inter + c.hidden));
  for (std::int64_t i = 0; i < 2 * inter; ++i) {
    bias.push_back(both.values.at(name.expert * 2 * inter + (i < inter ? 2 * i : 2 * (i - inter) + 1)));
  }
  for (std::int64_t i = 0; i < c.hidden; ++i) bias.push_back(down.values.at(std::int64_t{name.expert} * c.hidden + i));
  return bias;
}

Result<MlpWeights> find_alternating(const weights::Checkpoint& checkpoint, const Config& c, const MlpName& name, Access access) {
  const std::int64_t count = c.moe.experts, inter = name.inter, hidden = c.hidden;
  const bool rows = c.names.experts == ExpertTensors::kAlternatingRows;
  ASSIGN_OR_RETURN(auto both, checkpoint.stacked(name.prefix + ".experts.gate_up_proj", name.expert, count, rows ? 2 * inter : hidden,
                                                 rows ? hidden : 2 * inter, access));
  ASSIGN_OR_RETURN(auto down, checkpoint.stacked(name.prefix + ".experts.down_proj", name.expert, count, rows ? hidden : inter,
                                                 rows ? inter : hidden, access));
  if (!rows && both.values.dtype == DType::kF8E4M3) {
    return invalid_argument(checkpoint.path() + ": experts whose gates and ups alternate in columns can't be made FP8; leave --quantization out");
  }
  MlpWeights found;
  rows ? split_rows(both, found) : split_columns(both, found);
  found.down = rows ? weight_of(down) : weight_of(down).transpose();
  ASSIGN_OR_RETURN(found.bias, alternating_biases(checkpoint, c, name, access));
  found.owners.push_back(std::move(both));
  found.owners.push_back(std::move(down));
  return found;
}

Result<MlpWeights> find_transposed(const weights::Checkpoint& checkpoint, const Config& c, const MlpName& name, Access access) {
  const std::int64_t count = c.moe.experts, inter = name.inter;
  ASSIGN_OR_RETURN(auto both, checkpoint.stacked(name.prefix + ".experts.gate_up_proj", name.expert, count, c.hidden, 2 * inter, access));
  ASSIGN_OR_RETURN(auto down, checkpoint.stacked(name.prefix + ".experts.down_proj", name.expert, count, inter, c.hidden, access));
  const ops::Weight rows = weight_of(both).transpose();
  MlpWeights found;
  found.gate = rows.window(0, inter, 0, c.hidden);
  found.up = rows.window(inter, inter, 0, c.hidden);
  found.down = weight_of(down).transpose();
  found.owners.push_back(std::move(both));
  found.owners.push_back(std::move(down));
  return found;
}

}  // namespace

Result<MlpWeights> find_mlp(const weights::Checkpoint& checkpoint, const Config& c, const MlpName& name, Access access) {
  const bool alternating = c.names.experts == ExpertTensors::kAlternatingRows || c.names.experts == ExpertTensors::kAlternatingColumns;
  if (name.expert >= 0 && alternating) return find_alternating(checkpoint, c, name, access);
  const bool transposed = c.names.experts == ExpertTensors::kTransposed && checkpoint.has(name.prefix + ".experts.gate_up_proj");
  if (name.expert >= 0 && transposed) return find_transposed(checkpoint, c, name, access);
  const std::string prefix = name.prefix + (name.expert < 0 ? "." : ".experts." + std::to_string(name.expert) + ".");
  ASSIGN_OR_RETURN(auto gate, checkpoint.matrix(prefix + c.names.gate + ".weight", name.inter, c.hidden, access));
  ASSIGN_OR_RETURN(auto up, checkpoint.matrix(prefix + c.names.up + ".weight", name.inter, c.hidden, access));
  ASSIGN_OR_RETURN(auto down, checkpoint.matrix(prefix + c.names.down + ".weight", c.hidden, name.inter, access));
  MlpWeights found{weight_of(gate), weight_of(up), weight_of(down), {}, {}};
  found.owners = {std::move(gate), std::move(up), std::move(down)};
  return found;
}

}  // namespace braid::model
