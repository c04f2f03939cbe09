// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>

#include "backend/cuda/gemm/arguments.h"
#include "backend/cuda/gemm/gemm.h"
#include "backend/cuda/gemm/kernel_of.h"
#include "backend/cuda/gemm/tensor_map.h"
#include "backend/cuda/ptx/cache_policy.h"
#include "base/check.h"

namespace braid::cuda {
namespace {

Status sizes_fit(const GemmProblem& problem) {
  const int bytes = problem.k * element_bytes(problem.precision);
  if (problem.n <= 0 || problem.n % 8 != 0 || bytes <= 0 || bytes % 16 != 0 ||
      problem.groups <= 0) {
    return invalid_argument("GEMM of " + std::to_string(problem.groups) + " groups, n " +
                            std::to_string(problem.n) + ", k " + std::to_string(problem.k) +
                            ": n must be a multiple of 8 and a row of k of 16 bytes");
  }
  return {};
}

Error launch_error(const char* what, cudaError_t error) {
  return internal_error(std::string("GEMM: ") + what + ": " + cudaGetErrorString(error));
}

cudaLaunchConfig_t configuration(const GemmPlan& plan, cudaLaunchAttribute& cluster) {
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {static_cast<unsigned>(plan.tiling.cluster()), 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = {static_cast<unsigned>(plan.grid), 1, 1};
  config.blockDim = {static_cast<unsigned>(plan.tiling.threads()), 1, 1};
  config.dynamicSmemBytes = plan.shared_bytes;
  config.attrs = &cluster;
  config.numAttrs = 1;
  return config;
}

Result<CUtensorMap> activation_map(const GemmPlan& plan, const GemmOperands& operands) {
  const GemmProblem& problem = plan.problem;
  const bool fp8 = problem.precision == Precision::kFp8;
  return tensor_map({.name = "activations",
                     .data = operands.activations,
                     .element = fp8 ? Element::kByte : Element::kBf16,
                     .rows = operands.rows,
                     .columns = problem.k,
                     .stride = operands.stride,
                     .box_rows = plan.tiling.box_rows,
                     .box_columns = tile_inputs(problem.precision),
                     .swizzle = 128});
}

Result<CUtensorMap> output_map(const GemmPlan& plan, const GemmOperands& operands) {
  const int columns = std::min(64, plan.tiling.columns / plan.tiling.math_n);
  return tensor_map({.name = "output",
                     .data = operands.out.data,
                     .element = Element::kBf16,
                     .rows = operands.rows,
                     .columns = operands.out.cols,
                     .stride = operands.out.stride,
                     .box_rows = 16,
                     .box_columns = columns,
                     .swizzle = columns * 2});
}

Result<CUtensorMap> scale_map(const GemmPlan& plan, const GemmOperands& operands, int k_blocks) {
  return tensor_map({.name = "activation scales",
                     .data = operands.scales,
                     .element = Element::kFloat,
                     .rows = k_blocks,
                     .columns = scale_stride(operands.rows),
                     .stride = scale_stride(operands.rows),
                     .box_rows = 1,
                     .box_columns = scale_box(plan.tiling.rows)});
}

// The copy engine stores bf16 rows of a multiple of 16 bytes.
Status describe_output(const GemmPlan& plan, const GemmOperands& operands, GemmArguments& args) {
  const Activations& out = operands.out;
  const auto address = reinterpret_cast<std::uintptr_t>(out.data);
  args.out = out.data;
  args.out_stride = out.stride;
  args.out_float = out.dtype == DType::kF32;
  args.out_paired = out.stride % 2 == 0 && address % (args.out_float ? 8 : 4) == 0;
  args.accumulate = operands.accumulate;
  args.store = GemmStore::kRows;
  if (args.out_float || out.cols % 8 != 0 || out.stride % 8 != 0 || address % 16 != 0) {
    return {};
  }
  args.store = GemmStore::kTiles;
  ASSIGN_OR_RETURN(args.output, output_map(plan, operands));
  return {};
}

}  // namespace

Result<GemmPlan> plan_gemm(const GemmProblem& problem, int tiling) {
  RETURN_IF_ERROR(sizes_fit(problem));
  int device = 0;
  int processors = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  const int chosen = tiling >= 0 ? tiling : choose_tiling(problem, processors);
  const CompiledKernel kernel =
      problem.precision == Precision::kFp8 ? fp8_kernel(chosen) : bf16_kernel(chosen);
  GemmPlan plan{.problem = problem,
                .tiling = tilings(problem.precision)[chosen],
                .kernel = kernel.function,
                .shared_bytes = kernel.shared_bytes};
  if (const cudaError_t error = cudaFuncSetAttribute(
          kernel.function, cudaFuncAttributeMaxDynamicSharedMemorySize, kernel.shared_bytes);
      error != cudaSuccess) {
    return launch_error("a block's shared memory", error);
  }
  plan.grid = plan.tiling.cluster();
  cudaLaunchAttribute cluster;
  const cudaLaunchConfig_t config = configuration(plan, cluster);
  int clusters = 0;
  if (const cudaError_t error =
          cudaOccupancyMaxActiveClusters(&clusters, kernel.function, &config);
      error != cudaSuccess || clusters == 0) {
    return launch_error("no multiprocessors for a cluster", error);
  }
  plan.grid = clusters * plan.tiling.cluster();
  return plan;
}

Result<GemmPlan> GemmPlans::plan(const GemmProblem& problem) {
  const int tiling = choose_tiling(problem, processors_);
  const auto key = std::pair(problem.precision, tiling);
  auto found = made_.find(key);
  if (found == made_.end()) {
    ASSIGN_OR_RETURN(const GemmPlan made, plan_gemm(problem, tiling));
    found = made_.emplace(key, made).first;
  }
  RETURN_IF_ERROR(sizes_fit(problem));
  GemmPlan plan = found->second;
  plan.problem = problem;
  if (lent_ > 0) {
    const int cluster = plan.tiling.cluster(), kept = plan.grid * std::max(1, processors_ - kLentProcessors) / processors_;
    plan.grid = std::max(1, kept / cluster) * cluster;
  }
  return plan;
}

Status run_gemm(const GemmPlan& plan, const GemmOperands& operands, cudaStream_t stream) {
  if (operands.rows == 0) {
    return {};
  }
  CHECK(operands.weights.size() <= kMostGemmGroups);
  const GemmProblem& problem = plan.problem;
  const bool fp8 = problem.precision == Precision::kFp8;
  GemmArguments args{};
  ASSIGN_OR_RETURN(args.activations, activation_map(plan, operands));
  if (fp8) {
    const PackedShape packed{problem.precision, 1, problem.n, problem.k};
    ASSIGN_OR_RETURN(args.scales, scale_map(plan, operands, packed.k_blocks()));
  }
  RETURN_IF_ERROR(describe_output(plan, operands, args));
  for (std::size_t g = 0; g < operands.weights.size(); ++g) {
    const GemmWeight& w = operands.weights[g];
    args.group[g] = {w.values, w.scales, w.n, PackedShape{problem.precision, 1, w.n, w.k}.k_blocks()};
  }
  args.offsets = operands.offsets;
  args.counts = operands.counts;
  args.pitch = operands.pitch;
  args.rows = static_cast<int>(operands.rows);
  args.groups = static_cast<int>(operands.weights.size());
  args.band = std::max(1, 2048 / (plan.tiling.rows * plan.tiling.cluster_m));
  const bool streams = problem.rows_per_group <= plan.tiling.rows;
  args.weight_policy = streams ? kKeepShort : kKeepNormal;
  args.activation_policy = streams ? kKeepLong : kKeepNormal;
  void* parameters[] = {&args};
  cudaLaunchAttribute cluster;
  cudaLaunchConfig_t config = configuration(plan, cluster);
  config.stream = stream;
  if (const cudaError_t error = cudaLaunchKernelExC(&config, plan.kernel, parameters);
      error != cudaSuccess) {
    return launch_error("launch", error);
  }
  return {};
}

}  // namespace braid::cuda
