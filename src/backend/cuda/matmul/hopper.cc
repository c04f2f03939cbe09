// SPDX-License-Identifier: Apache-2.0
// linear and grouped_mlp as Hopper's GEMM and what must happen to its operands.
#include <algorithm>
#include <vector>

#include "backend/cuda/matmul/choose.h"
#include "backend/cuda/matmul/feed_rows.h"
#include "backend/cuda/matmul/few_rows.h"
#include "backend/cuda/matmul/matmul.h"
#include "backend/cuda/matmul/pack.h"
#include "base/check.h"

namespace braid::cuda {
namespace {

using ops::PackedMlp;
using ops::PackedWeight;
using ops::WeightFormat;

constexpr std::int64_t kInputUnit = 16;  // inputs are filled up with zeros to a multiple
constexpr int kScaleRows = 64;           // outputs of a packed tile that share a scale

Precision precision_of(WeightFormat format) { return format == WeightFormat::kF8 ? Precision::kFp8 : Precision::kBf16; }

// Whether each 64 rows have the same scales, as packed tiles have.
bool share_scales(std::span<const PackedRow> rows) {
  const PackedRow* first = nullptr;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (r % kScaleRows == 0) first = nullptr;
    if (!rows[r].weight) continue;
    if (!first) first = &rows[r];
    const auto block = [](const PackedRow& row) { return (row.weight->row_offset + row.row) / row.weight->block; };
    if (rows[r].weight != first->weight || block(rows[r]) != block(*first)) return false;
  }
  return true;
}

std::vector<float> scales_of(std::span<const PackedRow> rows, std::int64_t k) {
  std::vector<float> scales;
  for (std::size_t first = 0; first < rows.size(); first += kScaleRows) {
    const auto some = rows.subspan(first, std::min<std::size_t>(kScaleRows, rows.size() - first));
    const auto row = std::find_if(some.begin(), some.end(), [](const PackedRow& r) { return r.weight != nullptr; });
    for (std::int64_t b = 0; b < scale_blocks(k); ++b) scales.push_back(row == some.end() ? 0.0f : row->weight->scale(row->row, b * 128));
  }
  return scales;
}

// Rows of k inputs as tiles; e4m3 where their scales allow it, otherwise bfloat16.
PackedWeight pack_tiles(std::span<const PackedRow> rows, WeightFormat format, std::int64_t k, Stream& s) {
  const bool fp8 = format == WeightFormat::kF8 && std::all_of(rows.begin(), rows.end(), keeps_f8) && share_scales(rows);
  PackedWeight packed;
  packed.format = fp8 ? WeightFormat::kF8 : WeightFormat::kBF16;
  packed.n = static_cast<std::int64_t>(rows.size());
  packed.k = k;
  const DType dtype = dtype_of(packed.format);
  const std::int64_t filled = (k + kInputUnit - 1) / kInputUnit * kInputUnit;
  const std::size_t row_bytes = static_cast<std::size_t>(filled) * size_of(dtype), bytes = rows.size() * row_bytes;
  const Buffer host(bytes);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (rows[r].weight) write_row(rows[r], dtype, k, host.data() + r * row_bytes);
  }
  const std::vector<float> scales = fp8 ? scales_of(rows, k) : std::vector<float>();
  const PackedShape shape{precision_of(packed.format), 1, static_cast<int>(packed.n), static_cast<int>(filled)};
  packed.data = s.allocate(shape.weight_bytes());
  packed.scales = s.allocate(shape.scale_bytes());
  const std::size_t scales_at = (bytes + 15) / 16 * 16;
  std::byte* const staged = s.scratch(scales_at + scales.size() * sizeof(float));
  s.copy(staged, host.data(), bytes);
  s.copy(staged + scales_at, scales.data(), scales.size() * sizeof(float));
  if (s.failed()) return packed;
  s.check(pack_weights({staged, reinterpret_cast<const float*>(staged + scales_at), kScaleRows}, shape,
                       packed.data.as<std::uint8_t>(), packed.scales.as<float>(), s.queue()));
  return packed;
}

GemmWeight weight_of(const PackedWeight& w) {
  return {w.data.as<std::uint8_t>(), w.scales.as<float>(), static_cast<int>(w.n), static_cast<int>(w.k)};
}

// Reads rows that lie at `at`.
GemmOperands operands_of(const FedRows& rows, const std::byte* at, std::span<const GemmWeight> weights) {
  return {.activations = at, .stride = rows.stride, .scales = reinterpret_cast<const float*>(at + rows.scales_at()),
          .weights = weights, .rows = rows.rows};
}

void run(const GemmProblem& problem, const GemmOperands& operands, Stream& s) {
  if (s.failed()) return;
  const auto plan = s.gemms().plan(problem);
  if (!plan.ok()) return s.check(Status(plan.error()));
  s.check(run_gemm(*plan, operands, s.queue()));
}

bool aligned(const Activations& x) { return x.stride % 8 == 0 && reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0; }

// The widest of the groups' matrices.
struct Groups {
  explicit Groups(std::span<const PackedMlp* const> mlps) {
    for (const PackedMlp* mlp : mlps) {
      gate_up.push_back(mlp ? weight_of(mlp->gate_up) : GemmWeight{});
      down.push_back(mlp ? weight_of(mlp->down) : GemmWeight{});
      bias.push_back(nullptr);
      if (!mlp) continue;
      bias.back() = mlp->bias.as<float>();
      glu = mlp->glu;
      hidden = mlp->hidden;
      inter = std::max(inter, mlp->inter);
      first = precision_of(mlp->gate_up.format);
      second = precision_of(mlp->down.format);
    }
    inter = (inter + kGateUnit - 1) / kGateUnit * kGateUnit;
  }

  bool biased() const { return std::any_of(bias.begin(), bias.end(), [](const float* b) { return b != nullptr; }); }

  std::vector<GemmWeight> gate_up, down;
  std::vector<const float*> bias;
  ops::Glu glu;
  std::int64_t hidden = 0, inter = 0;
  Precision first = Precision::kBf16, second = Precision::kBf16;
};

}  // namespace

PackedWeight pack_linear_hopper(std::span<const ops::Weight> parts, const ops::Linear::Problem& p, braid::Stream& s) {
  const auto rows = rows_of(parts);
  CHECK(static_cast<std::int64_t>(rows.size()) == p.n, "a weight has other rows than its shape says");
  return pack_tiles(rows, p.format, p.k, stream(s));
}

PackedMlp pack_mlp_hopper(const ops::Weight& gate, const ops::Weight& up, const ops::Weight& down, const ops::GroupedMlp::Problem& p,
                          braid::Stream& s) {
  PackedMlp packed;
  packed.format = p.format;
  packed.hidden = gate.cols;
  packed.inter = gate.rows;
  packed.glu = p.glu;
  packed.gate_up = pack_tiles(alternate(gate, up, kGateTurn, kGateUnit), p.format, gate.cols, stream(s));
  packed.down = pack_tiles(rows_of({&down, 1}), p.format, down.cols, stream(s));
  return packed;
}

void linear_hopper(const ops::Linear::Args& a, braid::Stream& braid_stream) {
  Stream& s = stream(braid_stream);
  const GemmWeight weight = weight_of(*a.weight);
  const Precision precision = precision_of(a.weight->format);
  const GemmProblem problem = describe_gemm(precision, a.x.rows, 1, weight.n, weight.k);
  const int split = aligned(a.x) ? few_rows_split(problem, a.x.rows, s.workers()) : 0;
  if (split > 0) {
    return run_few_rows({.precision = precision, .x = a.x.data, .stride = a.x.stride, .rows = a.x.rows, .weights = {&weight, 1}, .out = a.y,
                         .accumulate = a.accumulate, .split = split}, s);
  }
  FedRows rows(precision, a.x.rows, a.weight->k);
  const auto* at = static_cast<const std::byte*>(a.x.data);
  if (precision == Precision::kBf16 && aligned(a.x)) {
    rows.stride = a.x.stride;
  } else {
    std::byte* const fed = s.scratch(rows.bytes());
    gather_rows(a.x, nullptr, rows, fed, s);
    at = fed;
  }
  GemmOperands operands = operands_of(rows, at, {&weight, 1});
  operands.out = a.y;
  operands.accumulate = a.accumulate;
  run(problem, operands, s);
}

void grouped_mlp_hopper(const ops::GroupedMlp::Args& a, braid::Stream& braid_stream) {
  if (a.out.rows == 0) return;
  Stream& s = stream(braid_stream);
  const Groups groups(a.groups);
  const auto count = static_cast<std::int64_t>(a.groups.size());
  const GemmProblem problems[] = {describe_gemm(groups.first, a.out.rows, count, static_cast<int>(2 * groups.inter), static_cast<int>(groups.hidden)),
                                  describe_gemm(groups.second, a.out.rows, count, static_cast<int>(groups.hidden), static_cast<int>(groups.inter))};
  const Activations gate_up{a.scratch, DType::kBF16, a.out.rows, 2 * groups.inter, 2 * groups.inter};
  const Activations out{a.out.data, DType::kF32, a.out.rows, a.out.cols, a.out.stride};
  const int splits[] = {few_rows_split(problems[0], a.out.rows, s.workers()), few_rows_split(problems[1], a.out.rows, s.workers())};
  if (aligned(a.x) && !groups.biased() && splits[0] > 0 && splits[1] > 0) {
    run_few_rows({.precision = groups.first, .x = a.x.data, .stride = a.x.stride, .row_token = a.row_token, .offsets = a.offsets, .rows = a.out.rows,
                  .weights = groups.gate_up, .out = gate_up, .split = splits[0]}, s);
    return run_few_rows({.precision = groups.second, .x = a.scratch, .stride = gate_up.stride, .gated = true, .glu = groups.glu, .offsets = a.offsets,
                         .rows = a.out.rows, .weights = groups.down, .out = out, .split = splits[1]}, s);
  }
  FedRows in(groups.first, a.out.rows, groups.hidden);
  const FedRows act(groups.second, a.out.rows, groups.inter);
  std::byte* const fed = s.scratch(std::max(in.bytes(), act.bytes()));
  const auto* at = static_cast<const std::byte*>(a.x.data);
  if (groups.first == Precision::kBf16 && !a.row_token && aligned(a.x)) {
    in.stride = a.x.stride;
  } else {
    gather_rows(a.x, a.row_token, in, fed, s);
    at = fed;
  }
  GemmOperands first = operands_of(in, at, groups.gate_up);
  first.offsets = a.offsets;
  first.out = gate_up;
  run(problems[0], first, s);
  activate_rows({a.scratch, 2 * groups.inter, a.offsets, groups.down, groups.bias, groups.glu}, act, fed, s);
  GemmOperands second = operands_of(act, fed, groups.down);
  second.offsets = a.offsets;
  second.out = out;
  run(problems[1], second, s);
  add_group_bias(a, s);
}

}  // namespace braid::cuda
