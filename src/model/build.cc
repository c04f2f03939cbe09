// SPDX-License-Identifier: Apache-2.0
#include "model/build.h"

#include <algorithm>

#include "tensor/staging.h"

namespace braid::model {
namespace {

std::string shape_text(DType x, ops::WeightFormat format, std::int64_t n, std::int64_t k, std::int64_t batch = 1) {
  return (batch > 1 ? std::to_string(batch) + " x " : "") + std::to_string(n) + " x " + std::to_string(k) + " " +
         ops::name_of(format) + ", activations " + std::string(name_of(x));
}

Result<ops::PackedMlp> load_mlp(const weights::Checkpoint& checkpoint, const Config& config, const MlpName& name,
                                const ops::Kernel<ops::GroupedMlp>& kernel, const ops::GroupedMlp::Problem& problem, Stream& stream) {
  ASSIGN_OR_RETURN(const MlpWeights stored, find_mlp(checkpoint, config, name));
  ops::PackedMlp packed = kernel.prepare(stored.gate, stored.up, stored.down, problem, stream);
  if (problem.bias) packed.bias = upload(stream, stored.bias);
  return packed;
}

// Of `parameters` of a matrix as kernels hold them, about: without what fills the last tiles.
std::size_t packed_bytes(ops::WeightFormat format, std::int64_t parameters) {
  const auto count = static_cast<std::size_t>(parameters);
  switch (format) {
    case ops::WeightFormat::kF32: return 4 * count;
    case ops::WeightFormat::kBF16: return 2 * count;
    case ops::WeightFormat::kF8:
    case ops::WeightFormat::kI8: return count + count / 32;
    case ops::WeightFormat::kF4: return count / 2 + count / 32;
  }
  return 0;
}

}  // namespace

Builder::Builder(const weights::Checkpoint& checkpoint, const Config& config, const Options& options,
                 const ops::Backend& backend, const Progress& progress)
    : checkpoint_(checkpoint), config_(config), options_(options), backend_(backend), progress_(progress) {}

std::optional<weights::Stored> Builder::stored(const MatrixName& name) {
  if (error_) return std::nullopt;
  auto found = checkpoint_.matrix(name.name, name.rows, name.cols, access());
  if (!found.ok()) {
    error_ = found.error();
    return std::nullopt;
  }
  show_progress();
  return std::move(found).value();
}

weights::Access Builder::access() const { return options_.plan ? weights::Access::kLook : weights::Access::kRead; }

void Builder::count(ops::WeightFormat format, std::int64_t parameters, bool expert) {
  count_.parameters += parameters;
  if (expert) count_.expert_parameters += parameters;
  if (!options_.plan) return;
  bytes_ += packed_bytes(format, parameters);
  if (expert) count_.expert_bytes += packed_bytes(format, parameters);
}

ops::WeightFormat Builder::format_of(const ops::Weight& weight, bool may_quantise) const {
  if (options_.compute == DType::kF32) return ops::WeightFormat::kF32;
  if (options_.int8_activations && may_quantise) return ops::WeightFormat::kI8;
  if (weight.values.dtype == DType::kF4E2M1) return ops::WeightFormat::kF4;
  return weight.values.dtype == DType::kF8E4M3 ? ops::WeightFormat::kF8 : ops::WeightFormat::kBF16;
}

LinearLayer Builder::pack(const std::vector<ops::Weight>& parts, std::int64_t batch, ops::WeightFormat format, Buffer bias) {
  LinearLayer layer;
  ops::Linear::Problem problem{format == ops::WeightFormat::kF32 ? DType::kF32 : activations(), format, 0,
                               parts.front().cols, batch, options_.f8_activations, bias.size() > 0};
  for (const auto& part : parts) problem.n += part.rows;
  problem.n /= batch;
  layer.kernel = choose(lists().linear, problem, shape_text(problem.x, format, problem.n, problem.k, batch));
  if (!layer.kernel) return layer;
  count(format, batch * problem.n * problem.k);
  if (options_.plan) return layer;
  layer.weight = layer.kernel->prepare(parts, problem, stream());
  layer.bias = std::move(bias);
  bytes_ += layer.weight.bytes() + layer.bias.size();
  return layer;
}

LinearLayer Builder::linear(const std::vector<MatrixName>& names, bool bias) {
  std::vector<weights::Stored> keep;
  std::vector<ops::Weight> parts;
  bool all_f8 = true;
  for (const auto& name : names) {
    auto matrix = stored(name);
    if (!matrix) return {};
    keep.push_back(std::move(*matrix));
    parts.push_back(weight_of(keep.back()));
    all_f8 &= parts.back().values.dtype == DType::kF8E4M3;
  }
  auto format = format_of(parts.front(), true);
  if (format == ops::WeightFormat::kF8 && !all_f8) format = ops::WeightFormat::kBF16;
  return pack(parts, 1, format, bias ? biases(names) : Buffer());
}

Buffer Builder::biases(const std::vector<MatrixName>& names) {
  std::vector<float> all;
  for (const auto& [name, rows, cols] : names) {
    const std::string bias = name.substr(0, name.rfind(".weight")) + ".bias";
    const auto part = host_vector(bias, rows);
    all.insert(all.end(), part.begin(), part.end());
  }
  return error_ ? Buffer() : upload(stream(), all);
}

LinearLayer Builder::batched(const std::vector<ops::Weight>& windows, bool may_quantise) {
  if (error_) return {};
  return pack(windows, static_cast<std::int64_t>(windows.size()), format_of(windows.front(), may_quantise));
}

LinearLayer Builder::router(const std::vector<MatrixName>& names, bool bias) {
  std::vector<weights::Stored> keep;
  std::vector<ops::Weight> parts;
  for (const auto& name : names) {
    auto matrix = stored(name);
    if (!matrix) return {};
    keep.push_back(std::move(*matrix));
    parts.push_back(weight_of(keep.back()));
  }
  return pack(parts, 1, ops::WeightFormat::kF32, bias ? biases(names) : Buffer());
}

LinearLayer Builder::head(const std::string& name) {
  const auto matrix = stored({name, config_.vocab_size, config_.hidden});
  if (!matrix) return {};
  return pack({weight_of(*matrix)}, 1, format_of(weight_of(*matrix), false));
}

std::vector<float> Builder::host_vector(const std::string& name, std::int64_t size) {
  if (error_) return {};
  auto found = checkpoint_.vector(name, size);
  if (!found.ok()) {
    error_ = found.error();
    return {};
  }
  return std::move(found).value();
}

Buffer Builder::vector(const std::string& name, std::int64_t size, float factor) {
  auto values = host_vector(name, size);
  if (error_) return {};
  for (float& value : values) value *= factor;
  return upload(stream(), values);
}

Buffer Builder::embedding(const std::string& name, DType dtype) {
  const auto matrix = stored({name, config_.vocab_size, config_.hidden});
  if (!matrix) return {};
  const ops::Weight weight = weight_of(*matrix);
  const std::int64_t count = weight.rows * weight.cols;
  if (!config_.tied_embeddings) count_.parameters += count;
  bytes_ += static_cast<std::size_t>(count) * size_of(dtype);
  if (options_.plan) return {};
  Buffer table(static_cast<std::size_t>(count) * size_of(dtype));
  for (std::int64_t r = 0, i = 0; r < weight.rows; ++r) {
    for (std::int64_t c = 0; c < weight.cols; ++c, ++i) {
      if (dtype == DType::kF32) table.as<float>()[i] = weight.at(r, c);
      else table.as<std::uint16_t>()[i] = f32_to_bf16(weight.at(r, c));
    }
  }
  return stream().unified() ? std::move(table) : upload(stream(), table.data(), table.size());
}

const ops::Kernel<ops::GroupedMlp>* Builder::choose_mlp(const MlpName& sample, int widest, ops::GroupedMlp::Problem& problem) {
  const auto weights = peek_mlp(sample);
  if (!weights) return nullptr;
  const auto format = format_of(weights->gate, true);
  problem = {activations(), format, config_.hidden, widest, options_.f8_activations, config_.moe.glu, !weights->bias.empty()};
  return choose(lists().grouped_mlp, problem, shape_text(problem.x, format, widest, problem.hidden));
}

ops::PackedMlp Builder::pack_mlp(const ops::Kernel<ops::GroupedMlp>* kernel, const ops::GroupedMlp::Problem& problem, const MlpName& name) {
  if (!kernel || error_) return {};
  count(problem.format, std::int64_t{3} * name.inter * config_.hidden, name.expert >= 0);
  if (options_.plan) {
    peek_mlp(name);
    return {};
  }
  auto loaded = load_mlp(checkpoint_, config_, name, *kernel, problem, stream());
  if (!loaded.ok()) {
    error_ = loaded.error();
    return {};
  }
  show_progress();
  bytes_ += loaded->bytes();
  if (name.expert >= 0) count_.expert_bytes += loaded->bytes();
  return std::move(loaded).value();
}

std::optional<MlpWeights> Builder::peek_mlp(const MlpName& name) {
  if (error_) return std::nullopt;
  auto found = find_mlp(checkpoint_, config_, name, weights::Access::kLook);
  if (found.ok()) return std::move(found).value();
  error_ = found.error();
  return std::nullopt;
}

MlpLayer Builder::mlp(const std::string& prefix, int inter) {
  MlpLayer layer;
  ops::GroupedMlp::Problem problem;
  const MlpName name{prefix, inter};
  layer.kernel = choose_mlp(name, inter, problem);
  layer.weights = pack_mlp(layer.kernel, problem, name);
  return layer;
}

moe::Layer Builder::moe(const std::string& prefix, int layer) {
  const auto& m = config_.moe;
  moe::Parts parts;
  parts.routing = m.routing;
  parts.scaled_inputs = m.scaled_inputs;
  const std::string router_name = prefix + "." + config_.names.router, shared_name = prefix + "." + config_.names.shared;
  std::vector<MatrixName> rows = {{router_name + ".weight", m.experts, config_.hidden}};
  if (m.routing.shared_gate) rows.push_back({shared_name + "_gate.weight", 1, config_.hidden});
  auto gate = router(rows, m.router_bias);
  parts.gate_kernel = gate.kernel;
  parts.gate = std::move(gate.weight);
  parts.gate_bias = std::move(gate.bias);
  if (m.has_bias) parts.bias = vector(router_name + ".e_score_correction_bias", m.experts);
  parts.route_kernel = choose(lists().route, m.routing, std::to_string(m.experts) + " experts, top " + std::to_string(m.top_k));
  parts.combine_kernel = choose(lists().combine, {config_.hidden}, std::to_string(config_.hidden) + " columns");
  ops::GroupedMlp::Problem problem;
  const auto name = [prefix, inter = m.inter](int e) { return MlpName{prefix, inter, e}; };
  parts.mlp_kernel = choose_mlp(name(0), std::max(m.inter, m.shared_inter), problem);
  parts.index = layer;
  parts.placement = placement();
  const std::size_t before = bytes_;
  for (const std::int32_t e : parts.placement.experts_of(rank())) {
    if (error_) break;
    if (e < 0) parts.experts.emplace_back();
    else parts.experts.push_back(pack_mlp(parts.mlp_kernel, problem, name(e)));
  }
  plan_arrivals(bytes_ - before);
  for (int e = 0; options_.experts && e < m.experts; ++e) peek_mlp(name(e));
  if (m.shared_inter > 0) parts.shared.push_back(pack_mlp(parts.mlp_kernel, problem, {shared_name, m.shared_inter}));
  if (options_.experts && parts.mlp_kernel) {
    parts.load = [&checkpoint = checkpoint_, kernel = parts.mlp_kernel, problem, name, config = config_,
                  &stream = stream()](int expert) -> Result<ops::PackedMlp> {
      return load_mlp(checkpoint, config, name(expert), *kernel, problem, stream);
    };
  }
  return moe::Layer(std::move(parts), rank());
}

// Experts that move wait for their slots, those of one layer at a time.
void Builder::plan_arrivals(std::size_t bytes) {
  if (!options_.plan || !options_.experts || !options_.experts->balanced || bytes <= planned_arrivals_) return;
  (void)stream().allocate(bytes - planned_arrivals_);
  planned_arrivals_ = bytes;
}

int Builder::rank() const { return options_.experts ? options_.experts->bootstrap->rank() : 0; }

moe::Placement Builder::placement() const {
  if (!options_.experts) return moe::Placement::linear(config_.moe.experts, 1);
  return moe::Placement::linear(config_.moe.experts, options_.experts->bootstrap->size(), options_.experts->redundant_experts);
}

std::unique_ptr<moe::Workspace> Builder::moe_workspace(std::int64_t max_tokens) {
  const auto& m = config_.moe;
  if (m.experts == 0 || error_) return nullptr;
  const moe::LayerShape shape{m.experts, m.top_k, m.shared_inter > 0, config_.hidden, max_tokens, activations(), lists().exchange,
                              m.routing.shared_gate, m.scaled_inputs};
  const int widest = std::max(m.inter, m.shared_inter);
  const auto* combine = choose(lists().combine, {config_.hidden}, std::to_string(config_.hidden) + " columns");
  if (error_) return nullptr;
  auto workspace = std::make_unique<moe::Workspace>(shape, widest, stream());
  workspace->timeline = options_.timeline;
  if (options_.experts) {
    if (options_.plan) (void)stream().allocate(moe::device_bytes(shape, *options_.experts, widest));
    if (options_.two_micro_batches) {
      workspace->other = std::make_unique<moe::Workspace>(shape, widest, stream());
      workspace->other->timeline = options_.timeline;
    }
    return workspace;
  }
  const auto* arrange = choose(lists().arrange, {m.experts, m.top_k}, std::to_string(m.experts) + " experts, top " + std::to_string(m.top_k));
  if (error_) return nullptr;
  auto prepare = moe::make_prepare(shape, nullptr, arrange, combine, stream());
  if (!prepare.ok()) error_ = prepare.error();
  else workspace->use(std::move(prepare).value());
  return workspace;
}

void Builder::record(const char* op, const std::string& problem, const char* kernel,
                     const std::vector<ops::Candidate>& candidates) {
  const auto same = [&](const Model::ChosenKernel& c) { return c.op == op && c.problem == problem; };
  if (std::any_of(chosen_.begin(), chosen_.end(), same)) return;
  chosen_.push_back({op, problem, kernel, candidates});
}

void Builder::show_progress() {
  if (progress_ && !options_.plan) progress_(checkpoint_.bytes_read(), checkpoint_.total_bytes());
}

}  // namespace braid::model
