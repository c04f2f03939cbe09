// SPDX-License-Identifier: Apache-2.0
#include "weights/quantise.h"

#include <algorithm>
#include <cmath>

namespace braid::weights {
namespace {

constexpr std::int64_t kBlock = 128;
constexpr float kLargest = 448;

struct Owned {
  Buffer values;
  Buffer scales;
};

void widen_row(const TensorView& from, std::int64_t row, float* to) {
  const std::int64_t cols = from.cols(), first = row * cols;
  const auto* half = static_cast<const std::uint16_t*>(from.data);
  switch (from.dtype) {
    case DType::kBF16: std::transform(half + first, half + first + cols, to, bf16_to_f32); return;
    case DType::kF16: std::transform(half + first, half + first + cols, to, f16_to_f32); return;
    default: std::copy_n(static_cast<const float*>(from.data) + first, cols, to); return;
  }
}

// One row of blocks: `rows` [count, cols] to codes and a scale for each block.
void quantise_rows(const std::vector<float>& rows, std::int64_t count, std::int64_t cols, std::uint8_t* codes, float* scales) {
  for (std::int64_t c = 0; c < cols; c += kBlock) {
    const std::int64_t end = std::min(cols, c + kBlock);
    float most = 0;
    for (std::int64_t r = 0; r < count; ++r) {
      for (std::int64_t i = r * cols + c; i < r * cols + end; ++i) most = std::max(most, std::fabs(rows[static_cast<std::size_t>(i)]));
    }
    const float scale = most > 0 ? most / kLargest : 1;
    scales[c / kBlock] = scale;
    for (std::int64_t r = 0; r < count; ++r) {
      for (std::int64_t i = r * cols + c; i < r * cols + end; ++i) codes[i] = f32_to_f8e4m3(rows[static_cast<std::size_t>(i)] / scale);
    }
  }
}

bool has_bits_to_spare(DType dtype) { return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16; }

bool is_projection(const std::string& name) {
  const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
  return name.ends_with(".weight") && (has("_proj") || has(".experts.")) && !has("eh_proj");
}

class QuantisedCheckpoint final : public Checkpoint {
 public:
  explicit QuantisedCheckpoint(std::unique_ptr<Checkpoint> stored) : stored_(std::move(stored)) {
    path_ = stored_->path();
    config_json_ = stored_->config_json();
  }

  Result<Stored> matrix(const std::string& name, std::int64_t rows, std::int64_t cols, Access access) const override {
    ASSIGN_OR_RETURN(Stored found, stored_->matrix(name, rows, cols, access));
    return is_projection(name) && has_bits_to_spare(found.values.dtype) ? quantise_fp8(found) : std::move(found);
  }
  Result<Stored> stacked(const std::string& name, std::int64_t index, std::int64_t count, std::int64_t rows,
                         std::int64_t cols, Access access) const override {
    ASSIGN_OR_RETURN(Stored found, stored_->stacked(name, index, count, rows, cols, access));
    return has_bits_to_spare(found.values.dtype) ? quantise_fp8(found) : std::move(found);
  }
  Result<std::vector<float>> vector(const std::string& name, std::int64_t size) const override { return stored_->vector(name, size); }
  bool has(const std::string& name) const override { return stored_->has(name); }
  Status check_surplus(const std::function<bool(const std::string&)>& expected_extra) const override { return stored_->check_surplus(expected_extra); }
  std::size_t total_bytes() const override { return stored_->total_bytes(); }
  std::size_t bytes_read() const override { return stored_->bytes_read(); }

 private:
  const std::unique_ptr<Checkpoint> stored_;
};

}  // namespace

Stored quantise_fp8(const Stored& matrix) {
  const std::int64_t rows = matrix.values.rows(), cols = matrix.values.cols();
  Stored quantised;
  quantised.values = {nullptr, DType::kF8E4M3, {rows, cols}};
  if (matrix.values.data == nullptr) return quantised;
  const Shape blocks{(rows + kBlock - 1) / kBlock, (cols + kBlock - 1) / kBlock};
  auto owned = std::make_shared<Owned>();
  owned->values = Buffer(static_cast<std::size_t>(rows * cols) + 8);
  owned->scales = Buffer(static_cast<std::size_t>(blocks[0] * blocks[1]) * sizeof(float));
  std::vector<float> wide(static_cast<std::size_t>(kBlock * cols));
  for (std::int64_t r = 0; r < rows; r += kBlock) {
    const std::int64_t count = std::min(kBlock, rows - r);
    for (std::int64_t i = 0; i < count; ++i) widen_row(matrix.values, r + i, wide.data() + i * cols);
    quantise_rows(wide, count, cols, owned->values.as<std::uint8_t>() + r * cols, owned->scales.as<float>() + r / kBlock * blocks[1]);
  }
  quantised.values.data = owned->values.data();
  quantised.scales = {owned->scales.data(), DType::kF32, blocks};
  quantised.owner = std::move(owned);
  return quantised;
}

std::unique_ptr<Checkpoint> quantised_fp8(std::unique_ptr<Checkpoint> stored) {
  return std::make_unique<QuantisedCheckpoint>(std::move(stored));
}

}  // namespace braid::weights
