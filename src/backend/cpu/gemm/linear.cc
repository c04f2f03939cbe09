// SPDX-License-Identifier: Apache-2.0
// linear over the micro-kernels: few rows split the panels evenly over the workers (each weight is
// read once); many rows are cut into chunks of rows and pairs of panels that workers draw from a counter.
#include <algorithm>

#include "backend/cpu/gemm/gemm.h"
#include "backend/cpu/gemm/kernel_list.h"
#include "backend/cpu/gemm/pack.h"
#include "base/check.h"
#include "ops/reference.h"

namespace braid::cpu {
namespace {

using ops::Linear;

constexpr std::int64_t kRowChunk = 64;
constexpr std::int64_t kTasksEach = 24;  // a worker waits for the others' last task: half a task on average

struct Call {
  MicroArgs args{};  // all rows of batch 0
  const Linear::Args* linear = nullptr;
  std::int64_t rows = 0;
  std::int64_t y_size = 4;
};

// What block() left out.
void add_bias(const MicroArgs& a, const float* bias) {
  const std::int64_t begin = a.panel0 * kPanel, end = std::min(a.n, a.panel1 * kPanel);
  for (std::int64_t r = 0; r < a.rows; ++r) {
    auto* y = reinterpret_cast<float*>(a.y + r * a.y_stride);
    for (std::int64_t n = begin; n < end; ++n) y[n] += bias[n];
  }
}

// Rows [row, row + count) times panels [first, last) of one batch entry.
void block(const Micro& micro, const Call& call, std::int64_t batch, std::int64_t row,
           std::int64_t count, std::int64_t first, std::int64_t last) {
  MicroArgs a = call.args;
  a.x += (batch * call.rows + row) * a.x_stride;
  a.w = panels_of(*call.linear->weight, batch);
  a.y += batch * call.linear->y_batch_stride * call.y_size + row * a.y_stride;
  a.rows = count;
  a.panel0 = first;
  a.panel1 = last;
  micro.gemm(a);
  if (call.linear->bias) add_bias(a, call.linear->bias + batch * a.n);
}

void few_rows(const Micro& micro, const Call& call, Stream& stream) {
  const ops::PackedWeight& w = *call.linear->weight;
  const std::int64_t panels = panel_count(w);
  const double ns = static_cast<double>(w.k) * (1.0 + 0.3 * static_cast<double>(call.rows));
  stream.split(panels * w.batch, ns, [&](std::int64_t begin, std::int64_t end, int) {
    while (begin < end) {
      const std::int64_t batch = begin / panels;
      const std::int64_t first = begin % panels;
      const std::int64_t last = std::min(panels, first + end - begin);
      block(micro, call, batch, 0, call.rows, first, last);
      begin += last - first;
    }
  });
}

void many_rows(const Micro& micro, const Call& call, Stream& stream) {
  const ops::PackedWeight& w = *call.linear->weight;
  const std::int64_t panels = panel_count(w);
  const std::int64_t row_chunks = (call.rows + kRowChunk - 1) / kRowChunk;
  const std::int64_t wanted = kTasksEach * stream.workers() / (row_chunks * w.batch);
  const std::int64_t pairs = (panels + 1) / 2;
  const std::int64_t pieces = std::clamp(wanted, (panels + 15) / 16, pairs);
  const std::int64_t tasks = w.batch * pieces * row_chunks;
  stream.queue(tasks, 1e4, [&](std::int64_t task, int) {
    const std::int64_t r = task % row_chunks;
    const std::int64_t p = task / row_chunks % pieces;
    const std::int64_t row = call.rows * r / row_chunks;
    const std::int64_t next = call.rows * (r + 1) / row_chunks;
    block(micro, call, task / (row_chunks * pieces), row, next - row, pairs * p / pieces * 2,
          std::min(panels, pairs * (p + 1) / pieces * 2));
  });
}

template <const MicroTier& kGemm>
void run(const Linear::Args& args, braid::Stream& s) {
  if (args.x.rows == 0) return;
  CHECK(!args.bias || args.y.dtype == DType::kF32, "a bias is added to float32");
  Stream& stream = cpu::stream(s);
  const ops::PackedWeight& w = *args.weight;
  const Micro& micro = micro_of(kGemm, w.format);
  const KernelRows rows = kernel_rows(micro, args.x, w.k, w.batch, args.x_batch_stride, stream);
  Call call;
  call.linear = &args;
  call.rows = args.x.rows;
  call.y_size = static_cast<std::int64_t>(size_of(args.y.dtype));
  call.args.x = rows.data;
  call.args.x_stride = rows.stride;
  call.args.y = static_cast<unsigned char*>(args.y.data);
  call.args.y_stride = args.y.stride * call.y_size;
  call.args.n = w.n;
  call.args.y_bf16 = args.y.dtype == DType::kBF16;
  call.args.accumulate = args.accumulate;
  call.rows <= 8 ? few_rows(micro, call, stream) : many_rows(micro, call, stream);
}

template <const MicroTier& kGemm>
ops::PackedWeight prepare(std::span<const ops::Weight> parts, const Linear::Problem& p,
                          braid::Stream& s) {
  return pack(parts, p.format, {micro_of(kGemm, p.format).layout, 0, p.n, p.k, p.batch},
              cpu::stream(s));
}

template <const MicroTier& kGemm>
struct Impl {
  static constexpr auto run = &cpu::run<kGemm>;
  static constexpr auto prepare = &cpu::prepare<kGemm>;
};

}  // namespace

std::vector<ops::Kernel<Linear>> linear_kernels() {
  return MatrixKernels<Linear, Impl>::list(ops::reference::kLinear);
}

}  // namespace braid::cpu
