// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>

#include "weights/checkpoint.h"
#include "weights/files.h"

namespace braid::weights {
namespace {

// splitmix64
std::uint64_t next(std::uint64_t& state) {
  std::uint64_t z = (state += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

std::uint64_t seed_of(const std::string& name) {
  std::uint64_t hash = 14695981039346656037u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return hash;
}

// FP8 codes of magnitude 0.5 to 1.875, either sign: eight a draw.
void fill_f8(std::byte* data, std::size_t count, std::uint64_t state) {
  for (std::size_t i = 0; i < count; i += 8) {
    const std::uint64_t codes = (next(state) & 0x8F8F8F8F8F8F8F8Fu) | 0x3030303030303030u;
    std::memcpy(data + i, &codes, std::min<std::size_t>(8, count - i));
  }
}

// All codes, eight bytes a draw.
void fill_f4(std::byte* data, std::size_t bytes, std::uint64_t state) {
  for (std::size_t i = 0; i < bytes; i += 8) {
    const std::uint64_t codes = next(state);
    std::memcpy(data + i, &codes, std::min<std::size_t>(8, bytes - i));
  }
}

// 256 values evenly over [-scale, scale), eight a draw.
void fill_bf16(std::uint16_t* data, std::size_t count, float scale, std::uint64_t state) {
  std::array<std::uint16_t, 256> values;
  for (int i = 0; i < 256; ++i) values[static_cast<std::size_t>(i)] = f32_to_bf16(static_cast<float>(i - 128) / 128.0f * scale);
  for (std::size_t i = 0; i < count; i += 8) {
    std::uint64_t bits = next(state);
    for (std::size_t j = i; j < std::min(i + 8, count); ++j, bits >>= 8) data[j] = values[bits & 0xFF];
  }
}

struct Owned {
  Buffer values;
  Buffer scales;
};

class DummyCheckpoint final : public Checkpoint {
 public:
  DummyCheckpoint(std::string path, std::string config, const std::string& method) : fp8_(method == "fp8"), mxfp4_(method == "mxfp4") {
    path_ = std::move(path);
    config_json_ = std::move(config);
  }

  Result<Stored> matrix(const std::string& name, std::int64_t rows, std::int64_t cols, Access access) const override {
    const bool quantised = fp8_ && name.find("_proj.weight") != std::string::npos && name.find("eh_proj") == std::string::npos;
    if (access == Access::kLook) return seen(quantised ? DType::kF8E4M3 : DType::kBF16, rows, cols);
    const auto count = static_cast<std::size_t>(rows * cols);
    const float scale = 1.0f / std::sqrt(static_cast<float>(cols));
    auto owned = std::make_shared<Owned>();
    Stored stored;
    owned->values = Buffer(count * (quantised ? 1 : 2) + 8);
    if (quantised) {
      fill_f8(owned->values.data(), count, seed_of(name));
      const Shape blocks{(rows + stored.block - 1) / stored.block, (cols + stored.block - 1) / stored.block};
      owned->scales = Buffer(static_cast<std::size_t>(blocks[0] * blocks[1]) * sizeof(float));
      for (std::int64_t i = 0; i < blocks[0] * blocks[1]; ++i) owned->scales.as<float>()[i] = scale;
      stored.scales = {owned->scales.data(), DType::kF32, blocks};
    } else {
      fill_bf16(owned->values.as<std::uint16_t>(), count, scale, seed_of(name));
    }
    stored.values = {owned->values.data(), quantised ? DType::kF8E4M3 : DType::kBF16, {rows, cols}};
    stored.owner = owned;
    read_ += stored.values.bytes();
    return stored;
  }

  Result<Stored> stacked(const std::string& name, std::int64_t index, std::int64_t, std::int64_t rows,
                         std::int64_t cols, Access access) const override {
    const std::string part = name + "." + std::to_string(index);
    if (!mxfp4_) return matrix(part, rows, cols, access);
    if (access == Access::kLook) return seen(DType::kF4E2M1, rows, cols);
    Stored stored = mxfp4(part, rows, cols);
    read_ += stored.values.bytes();
    return stored;
  }

  Result<std::vector<float>> vector(const std::string& name, std::int64_t size) const override {
    const bool bias = name.find("bias") != std::string::npos;
    return std::vector<float>(static_cast<std::size_t>(size), bias ? 0.0f : 1.0f);
  }

  bool has(const std::string&) const override { return true; }
  Status check_surplus(const std::function<bool(const std::string&)>&) const override { return {}; }
  std::size_t total_bytes() const override { return 0; }
  std::size_t bytes_read() const override { return read_; }

 private:
  static Stored seen(DType dtype, std::int64_t rows, std::int64_t cols) {
    Stored stored;
    stored.values = {nullptr, dtype, {rows, cols}};
    return stored;
  }

  static Stored mxfp4(const std::string& name, std::int64_t rows, std::int64_t cols) {
    constexpr std::int64_t kBlock = 32;
    const std::int64_t blocks = rows * cols / kBlock;
    auto owned = std::make_shared<Owned>();
    owned->values = Buffer(static_cast<std::size_t>(blocks * kBlock / 2));
    fill_f4(owned->values.data(), owned->values.size(), seed_of(name));
    owned->scales = Buffer(static_cast<std::size_t>(blocks));
    const int exponent = std::ilogb(1.0f / std::sqrt(static_cast<float>(cols))) - 1;
    std::memset(owned->scales.data(), 127 + exponent, owned->scales.size());
    Stored stored;
    stored.values = {owned->values.data(), DType::kF4E2M1, {rows, cols}};
    stored.scales = {owned->scales.data(), DType::kE8M0, {rows, cols / kBlock}};
    stored.block = kBlock;
    stored.block_rows = 1;
    stored.owner = owned;
    return stored;
  }

  bool fp8_;
  bool mxfp4_;
  mutable std::size_t read_ = 0;
};

}  // namespace

Result<std::unique_ptr<Checkpoint>> dummy_checkpoint(const std::string& folder) {
  ASSIGN_OR_RETURN(std::string text, read_config(folder));
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return invalid_argument(folder + "/config.json is not a JSON object");
  const auto found = json.find("quantization_config");
  std::string name;
  if (found != json.end() && found->is_object() && found->contains("quant_method")) {
    const auto& method = (*found)["quant_method"];
    if (!method.is_string()) {
      return invalid_argument(folder + "/config.json: quantization_config.quant_method: expected text, found " + method.dump());
    }
    name = method.get<std::string>();
  }
  return std::unique_ptr<Checkpoint>(std::make_unique<DummyCheckpoint>(folder, std::move(text), name));
}

}  // namespace braid::weights
