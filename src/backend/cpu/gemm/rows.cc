// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/gemm/gemm.h"

namespace braid::cpu {
namespace {

// Rows a multiple of 1 KiB apart compete for the same few sets of the first-level cache.
bool collides(std::int64_t stride_bytes, std::int64_t rows) {
  return rows > 4 && stride_bytes % 1024 == 0 && stride_bytes >= 2048;
}

}  // namespace

std::int64_t row_bytes(const Micro& micro, std::int64_t k) {
  const std::int64_t size = micro.x_int8 ? 1 : micro.x_bf16 ? 2 : 4;
  const std::int64_t scales = micro.x_int8 ? (k + 127) / 128 * 8 : 0;
  return (k * size + 63) / 64 * 64 + (scales + 63) / 64 * 64 + 64;
}

KernelRows kernel_rows(const Micro& micro, const Activations& x, std::int64_t k,
                       std::int64_t batch, std::int64_t batch_stride, Stream& stream) {
  const std::int64_t size = micro.x_bf16 ? 2 : 4;
  const bool same = !micro.x_int8 && (x.dtype == DType::kBF16) == micro.x_bf16;
  const std::int64_t group = micro.layout == Layout::kPairs ? 2 : 1;
  if (same && batch == 1 && k % group == 0 && !collides(x.stride * size, x.rows)) {
    return {static_cast<const unsigned char*>(x.data), x.stride * size};
  }
  const std::int64_t stride = row_bytes(micro, k);
  auto* copy = reinterpret_cast<unsigned char*>(
      stream.scratch(0, static_cast<std::size_t>(stride * x.rows * batch)));
  const double ns = 20 + static_cast<double>(k) / 16;
  stream.split(x.rows * batch, ns, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::byte* row = x.row(i % x.rows) + static_cast<std::size_t>(i / x.rows * batch_stride) * size_of(x.dtype);
      micro.load_row(row, x.dtype == DType::kBF16, k, copy + i * stride);
    }
  });
  return {copy, stride};
}

}  // namespace braid::cpu
