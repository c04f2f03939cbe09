// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/matmul/pack.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "tensor/staging.h"

namespace braid::cuda {
namespace {

constexpr std::int64_t kBlock = 128;
constexpr std::int64_t kStrideUnit = 64;

using ops::Weight;
using ops::WeightFormat;

bool stays_f8(const Weight& w) {
  return w.values.dtype == DType::kF8E4M3 && !w.transposed &&
         (!w.scaled() || (w.block == kBlock && w.col_offset % kBlock == 0));
}

// Each block's sixteen values are made once.
void widen_mxfp4(const Weight& w, std::int64_t row, std::int64_t k, std::uint16_t* out) {
  const auto* codes = static_cast<const std::uint8_t*>(w.values.data);
  std::array<std::uint16_t, 16> values;
  const std::int64_t at = w.stored(row, 0);
  for (std::int64_t i = 0, end = 0; i < k; ++i) {
    if (i == end) {
      const float scale = w.scale(row, i);
      for (std::size_t code = 0; code < values.size(); ++code) values[code] = f32_to_bf16(f4e2m1_to_f32(static_cast<std::uint8_t>(code)) * scale);
      end = i + w.block - (w.col_offset + i) % w.block;
    }
    out[i] = values[codes[(at + i) / 2] >> ((at + i) % 2 * 4) & 15];
  }
}

}  // namespace

DType dtype_of(WeightFormat format) {
  if (format == WeightFormat::kF32) return DType::kF32;
  return format == WeightFormat::kF8 ? DType::kF8E4M3 : DType::kBF16;
}

void write_row(const PackedRow& from, DType to, std::int64_t k, std::byte* out) {
  const Weight& w = *from.weight;
  if (w.values.dtype == to && !w.transposed && (to == DType::kF8E4M3 || !w.scaled())) {
    const auto* start = static_cast<const std::byte*>(w.values.data) +
                        static_cast<std::size_t>(w.stored(from.row, 0)) * size_of(to);
    std::memcpy(out, start, static_cast<std::size_t>(k) * size_of(to));
    return;
  }
  if (w.values.dtype == DType::kF4E2M1 && to == DType::kBF16 && !w.transposed) return widen_mxfp4(w, from.row, k, reinterpret_cast<std::uint16_t*>(out));
  for (std::int64_t i = 0; i < k; ++i) {
    const float value = w.at(from.row, i);
    if (to == DType::kF32) reinterpret_cast<float*>(out)[i] = value;
    else reinterpret_cast<std::uint16_t*>(out)[i] = f32_to_bf16(value);
  }
}

bool keeps_f8(const PackedRow& row) { return row.weight == nullptr || stays_f8(*row.weight); }

std::int64_t row_stride(std::int64_t k) { return (k + kStrideUnit - 1) / kStrideUnit * kStrideUnit; }
std::int64_t scale_blocks(std::int64_t k) { return (k + kBlock - 1) / kBlock; }

ops::PackedWeight pack(std::span<const PackedRow> rows, WeightFormat format, std::int64_t n, std::int64_t k,
                       std::int64_t batch, Stream& stream) {
  CHECK(static_cast<std::int64_t>(rows.size()) == batch * n, "a weight has other rows than its shape says");
  if (format == WeightFormat::kF4 || (format == WeightFormat::kF8 && !std::all_of(rows.begin(), rows.end(), keeps_f8))) {
    format = WeightFormat::kBF16;
  }
  ops::PackedWeight packed;
  packed.format = format;
  packed.n = n;
  packed.k = k;
  packed.batch = batch;
  const DType dtype = dtype_of(format);
  const std::size_t bytes = static_cast<std::size_t>(row_stride(k)) * size_of(dtype);
  const Buffer host(rows.size() * bytes);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (rows[r].weight) write_row(rows[r], dtype, k, host.data() + r * bytes);
  }
  packed.data = upload(stream, host.data(), host.size());
  if (format != WeightFormat::kF8) return packed;
  const std::int64_t blocks = scale_blocks(k);
  std::vector<float> scales;
  scales.reserve(rows.size() * static_cast<std::size_t>(blocks));
  for (const PackedRow& row : rows) {
    for (std::int64_t b = 0; b < blocks; ++b) scales.push_back(row.weight ? row.weight->scale(row.row, b * kBlock) : 0.0f);
  }
  packed.scales = upload(stream, scales);
  return packed;
}

std::vector<PackedRow> rows_of(std::span<const Weight> parts) {
  std::vector<PackedRow> rows;
  for (const Weight& part : parts) {
    for (std::int64_t r = 0; r < part.rows; ++r) rows.push_back({&part, r});
  }
  return rows;
}

std::vector<PackedRow> alternate(const Weight& gate, const Weight& up, std::int64_t turn, std::int64_t unit) {
  std::vector<PackedRow> rows;
  const std::int64_t filled = (gate.rows + unit - 1) / unit * unit;
  for (std::int64_t first = 0; first < filled; first += turn) {
    for (const Weight* half : {&gate, &up}) {
      for (std::int64_t r = first; r < first + turn; ++r) rows.push_back(r < half->rows ? PackedRow{half, r} : PackedRow{});
    }
  }
  return rows;
}

}  // namespace braid::cuda
