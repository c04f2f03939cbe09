// SPDX-License-Identifier: Apache-2.0
// grouped_mlp over the micro-kernels: two phases, each one fork. Phase one multiplies gate and up
// panels and leaves what Glu makes of them in the caller's scratch, in the kernel's own element type;
// phase two multiplies by down. Few rows: every worker takes a run of panels that costs as much as the
// others'. Many: pieces of 4 panels and 64 rows are drawn from a counter.
#include <algorithm>
#include <span>
#include <vector>

#include "backend/cpu/gemm/gemm.h"
#include "backend/cpu/gemm/kernel_list.h"
#include "backend/cpu/gemm/pack.h"
#include "ops/reference.h"

namespace braid::cpu {
namespace {

using ops::GroupedMlp;
using ops::PackedWeight;

constexpr std::int64_t kRowChunk = 64;
constexpr std::int64_t kPanelChunk = 4;

struct MlpGroup {
  const ops::PackedMlp* weights;
  std::int64_t first_row;
  std::int64_t rows;  // at least 1
};

struct Phase {
  const GroupedMlp::Args* args = nullptr;
  std::span<const MlpGroup> groups;
  const MicroTier* gemm = nullptr;
  bool gate_up = false;
  KernelRows x;
  unsigned char* act = nullptr;
  std::int64_t act_stride = 0;  // bytes
};

const PackedWeight& weight_of(const Phase& phase, const MlpGroup& group) {
  return phase.gate_up ? group.weights->gate_up : group.weights->down;
}

void block(const Phase& phase, const MlpGroup& group, std::int64_t row, std::int64_t rows,
           std::int64_t first, std::int64_t last) {
  const PackedWeight& w = weight_of(phase, group);
  const Micro& micro = micro_of(*phase.gemm, w.format);
  const std::int64_t at = group.first_row + row;
  MicroArgs a{};
  a.rows = rows;
  a.w = panels_of(w, 0);
  a.panel0 = first;
  a.panel1 = last;
  if (phase.gate_up) {
    const std::int32_t* tokens = phase.args->row_token;
    a.x = tokens ? phase.x.data : phase.x.data + at * phase.x.stride;
    a.x_stride = phase.x.stride;
    a.index = tokens ? tokens + at : nullptr;
    a.y = phase.act + at * phase.act_stride;
    a.y_stride = phase.act_stride;
    a.n = group.weights->inter;
    a.y_bf16 = micro.x_bf16 || micro.x_int8;
    const ops::PackedMlp& mlp = *group.weights;
    a.glu = {mlp.glu.alpha, mlp.glu.limit, mlp.glu.up_offset, mlp.bias.as<float>()};
    micro.gate_up(a);
  } else {
    a.x = phase.act + at * phase.act_stride;
    a.x_stride = phase.act_stride;
    a.y = reinterpret_cast<unsigned char*>(phase.args->out.row(at));
    a.y_stride = phase.args->out.stride * 4;
    a.n = group.weights->hidden;
    if (const float* bias = group.weights->bias.as<float>()) a.bias = bias + 2 * group.weights->inter;
    micro.gemm(a);
  }
}

// What a panel of the group costs, in tenths of reading it.
std::int64_t panel_cost(const MlpGroup& g) { return 10 + 3 * g.rows; }

void few_rows(const Phase& phase, Stream& stream) {
  std::int64_t cost = 0;
  std::int64_t k = 0;
  for (const MlpGroup& g : phase.groups) {
    cost += panel_count(weight_of(phase, g)) * panel_cost(g);
    k = std::max(k, weight_of(phase, g).k);
  }
  stream.split(cost, static_cast<double>(k) / 10, [&](std::int64_t begin, std::int64_t end, int) {
    std::int64_t start = 0;
    for (const MlpGroup& g : phase.groups) {
      const std::int64_t panels = panel_count(weight_of(phase, g)), each = panel_cost(g);
      const auto panel_at = [&](std::int64_t at) { return std::clamp<std::int64_t>((at - start + each - 1) / each, 0, panels); };
      const std::int64_t first = panel_at(begin), last = panel_at(end);
      if (first < last) block(phase, g, 0, g.rows, first, last);
      start += panels * each;
    }
  });
}

struct Pieces {
  std::int64_t rows;
  std::int64_t panels;
  std::int64_t count() const { return rows * panels; }
};

Pieces pieces_of(const Phase& phase, const MlpGroup& g) {
  const std::int64_t panels = panel_count(weight_of(phase, g));
  return {(g.rows + kRowChunk - 1) / kRowChunk, (panels + kPanelChunk - 1) / kPanelChunk};
}

void many_rows(const Phase& phase, Stream& stream) {
  std::int64_t tasks = 0;
  for (const MlpGroup& g : phase.groups) tasks += pieces_of(phase, g).count();
  stream.queue(tasks, 1e4, [&](std::int64_t task, int) {
    for (const MlpGroup& g : phase.groups) {
      const Pieces pieces = pieces_of(phase, g);
      if (task >= pieces.count()) {
        task -= pieces.count();
        continue;
      }
      const std::int64_t r = task % pieces.rows;
      const std::int64_t p = task / pieces.rows;
      const std::int64_t panels = panel_count(weight_of(phase, g));
      const std::int64_t row = g.rows * r / pieces.rows;
      const std::int64_t next = g.rows * (r + 1) / pieces.rows;
      block(phase, g, row, next - row, panels * p / pieces.panels,
            panels * (p + 1) / pieces.panels);
      return;
    }
  });
}

// The activations as rows of codes and scales, in the caller's scratch.
void quantise(Phase& phase, const Micro& micro, std::int64_t inter, Stream& stream) {
  std::int64_t rows = 0;
  for (const MlpGroup& g : phase.groups) rows = std::max(rows, g.first_row + g.rows);
  const std::int64_t stride = row_bytes(micro, inter);
  auto* codes = reinterpret_cast<unsigned char*>(
      stream.scratch(0, static_cast<std::size_t>(stride * rows)));
  const double ns = 20 + static_cast<double>(inter) / 16;
  stream.split(rows, ns, [&](std::int64_t begin, std::int64_t end, int) {
    for (const MlpGroup& g : phase.groups) {
      const std::int64_t last = std::min(end, g.first_row + g.rows);
      for (std::int64_t r = std::max(begin, g.first_row); r < last; ++r) {
        micro.load_row(phase.act + r * phase.act_stride, true, g.weights->inter, codes + r * stride);
      }
    }
  });
  phase.act = codes;
  phase.act_stride = stride;
}

template <const MicroTier& kGemm>
void run(const GroupedMlp::Args& args, braid::Stream& s) {
  Stream& stream = cpu::stream(s);
  std::vector<MlpGroup> groups;
  groups.reserve(args.groups.size());
  std::int64_t inter = 0;
  std::int64_t rows = 0;
  for (std::size_t g = 0; g < args.groups.size(); ++g) {
    const std::int64_t first = args.offsets[g], count = args.offsets[g + 1] - first;
    if (count == 0 || !args.groups[g]) continue;
    rows += count;
    groups.push_back({args.groups[g], first, count});
    inter = std::max(inter, args.groups[g]->inter);
  }
  if (groups.empty()) return;
  const auto used = static_cast<std::int64_t>(groups.size());
  const Micro& micro = micro_of(kGemm, groups.front().weights->gate_up.format);
  Phase phase;
  phase.args = &args;
  phase.groups = groups;
  phase.gemm = &kGemm;
  phase.gate_up = true;
  phase.x = kernel_rows(micro, args.x, groups.front().weights->hidden, 1, 0, stream);
  const auto scratch = reinterpret_cast<std::uintptr_t>(args.scratch);
  phase.act = reinterpret_cast<unsigned char*>((scratch + 63) / 64 * 64);
  const bool halves = micro.x_bf16 || micro.x_int8;
  phase.act_stride = (inter * (halves ? 2 : 4) + 63) / 64 * 64;
  if (halves && phase.act_stride % 256 == 0) phase.act_stride += 64;
  const bool few = rows <= 4 * used;
  for (const bool gate_up : {true, false}) {
    phase.gate_up = gate_up;
    if (!gate_up && micro.x_int8) quantise(phase, micro, inter, stream);
    few ? few_rows(phase, stream) : many_rows(phase, stream);
  }
}

template <const MicroTier& kGemm>
ops::PackedMlp prepare(const ops::Weight& gate, const ops::Weight& up, const ops::Weight& down,
                       const GroupedMlp::Problem& p, braid::Stream& s) {
  const Micro& micro = micro_of(kGemm, p.format);
  ops::PackedMlp packed;
  packed.format = p.format;
  packed.hidden = gate.cols;
  packed.inter = gate.rows;
  packed.glu = p.glu;
  const ops::Weight both[] = {gate, up};
  packed.gate_up = pack(both, p.format, {micro.layout, micro.lanes, 2 * gate.rows, gate.cols, 1},
                        cpu::stream(s));
  packed.down = pack({&down, 1}, p.format, {micro.layout, 0, down.rows, down.cols, 1},
                     cpu::stream(s));
  return packed;
}

template <const MicroTier& kGemm>
struct Impl {
  static constexpr auto run = &cpu::run<kGemm>;
  static constexpr auto prepare = &cpu::prepare<kGemm>;
};

}  // namespace

std::vector<ops::Kernel<GroupedMlp>> grouped_mlp_kernels() {
  return MatrixKernels<GroupedMlp, Impl>::list(ops::reference::kGroupedMlp);
}

}  // namespace braid::cpu
