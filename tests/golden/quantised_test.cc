// SPDX-License-Identifier: Apache-2.0
// Checkpoints quantised in the ways that others ship: a model computes what it computes from the same
// numbers written out in float32.
#include <gtest/gtest.h>

#include <cmath>

#include "kv/cache.h"
#include "model/model.h"
#include "tests/golden/quantised_folder.h"
#include "tests/golden/test_device.h"
#include "weights/checkpoint.h"
#include "weights/quantise.h"

namespace braid {
namespace {

constexpr int kTokens = 16;

std::vector<float> logits_of(const std::string& folder, const std::string& tier, DType compute, bool quantise = false) {
  auto checkpoint = weights::open_checkpoint(folder);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  if (quantise) checkpoint = weights::quantised_fp8(std::move(*checkpoint));
  TestDevice device = open_test_device();
  model::Options options;
  options.compute = compute;
  options.max_model_len = options.max_batched_tokens = kTokens;
  options.max_sequences = 1;
  ops::Backend backend{device.kernels, device.stream.get(), {}};
  if (!tier.empty() && tier != "reference") backend.forced = {tier};
  const auto built = model::build(**checkpoint, options, backend);
  EXPECT_TRUE(built.ok()) << built.error().message;
  if (!built.ok()) return {};
  kv::Cache cache((*built)->cache_layout(), 1, kTokens);
  const std::int32_t table[] = {0};
  model::Batch b;
  for (std::int32_t p = 0; p < kTokens; ++p) {
    b.logit_rows.push_back(p);
    b.token_ids.push_back(10 + p * 7 % 300);
    b.positions.push_back(p);
    b.slots.push_back(p);
  }
  b.prefill.push_back({0, kTokens, 0, table});
  const auto out = (*built)->forward(b, cache, nullptr).value();
  return {out.data, out.data + out.rows * out.cols};
}

std::string error_quantised(const std::string& folder) {
  const auto checkpoint = weights::quantised_fp8(std::move(*weights::open_checkpoint(folder)));
  const TestDevice device = open_test_device();
  const auto built = model::build(*checkpoint, {}, {device.kernels, device.stream.get(), {}});
  return built.ok() ? "" : built.error().message;
}

double mean_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::fabs(static_cast<double>(a[i]) - b[i]);
  return sum / static_cast<double>(a.size());
}

class Quantised : public testing::TestWithParam<Scheme> {};

TEST_P(Quantised, ComputesWhatItsNumbersSay) {
  const QuantisedFolders folders(fs::path(BRAID_BINARY_DIR) / "golden/models/qwen3-moe", GetParam());
  const auto &stored = folders.stored, &widened = folders.widened;
  EXPECT_GT(folders.count, 100);
  for (const std::string tier : open_test_device().tiers) {
    const auto exact = logits_of(widened.path().string(), tier, DType::kF32);
    EXPECT_EQ(logits_of(stored.path().string(), tier, DType::kF32), exact) << tier;
    const double rounded = mean_difference(logits_of(widened.path().string(), tier, DType::kBF16), exact);
    EXPECT_LE(mean_difference(logits_of(stored.path().string(), tier, DType::kBF16), exact), 2 * rounded) << tier;
  }
}

INSTANTIATE_TEST_SUITE_P(Schemes, Quantised, testing::ValuesIn(kSchemes), [](const auto& info) { return std::string(info.param.name); });

// The slow way to blocks of e4m3: [rows, cols] becomes what its codes stand for.
void round_blocks(float* values, std::int64_t rows, std::int64_t cols) {
  for (std::int64_t r = 0; r < rows; r += 128) {
    for (std::int64_t c = 0; c < cols; c += 128) {
      float most = 0;
      const auto each = [&](const auto& visit) {
        for (std::int64_t i = r; i < std::min(rows, r + 128); ++i) {
          for (std::int64_t j = c; j < std::min(cols, c + 128); ++j) visit(values[i * cols + j]);
        }
      };
      each([&](float& value) { most = std::max(most, std::fabs(value)); });
      const float scale = most > 0 ? most / 448.0f : 1.0f;
      each([&](float& value) { value = f8e4m3_to_f32(f32_to_f8e4m3(value / scale)) * scale; });
    }
  }
}

class QuantisedOnTheWay : public testing::TestWithParam<const char*> {};

TEST_P(QuantisedOnTheWay, ComputesWhatItsCodesStandFor) {
  const fs::path from = fs::path(BRAID_BINARY_DIR) / "golden/models" / GetParam();
  Folder widened(from, "widened");
  int count = 0;
  for (auto& [name, original] : widened.tensors) {
    const bool stacked = original.shape.size() == 3;
    const bool chosen = name.find("_proj") != std::string::npos || name.find(".experts.") != std::string::npos;
    if (!chosen || name.find("eh_proj") != std::string::npos || original.shape.size() < 2) continue;
    const std::int64_t rows = original.shape[stacked ? 1 : 0], cols = original.shape[stacked ? 2 : 1];
    std::vector<float> values;
    const auto* data = reinterpret_cast<const std::uint16_t*>(original.bytes.data());
    for (std::size_t i = 0; i < original.bytes.size() / 2; ++i) values.push_back(bf16_to_f32(data[i]));
    for (std::int64_t i = 0; i < (stacked ? original.shape[0] : 1); ++i) round_blocks(values.data() + i * rows * cols, rows, cols);
    original = tensor("F32", original.shape, values);
    ++count;
  }
  EXPECT_GT(count, 20);
  widened.write_tensors();
  for (const std::string tier : open_test_device().tiers) {
    const auto exact = logits_of(widened.path().string(), tier, DType::kF32);
    EXPECT_EQ(logits_of(from.string(), tier, DType::kF32, true), exact) << tier;
    EXPECT_NE(logits_of(from.string(), tier, DType::kF32), exact);
    const double rounded = mean_difference(logits_of(widened.path().string(), tier, DType::kBF16), exact);
    EXPECT_LE(mean_difference(logits_of(from.string(), tier, DType::kBF16, true), exact), 2 * rounded) << tier;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, QuantisedOnTheWay, testing::Values("qwen3-moe", "deepseek-v3", "llama4", "mixtral", "qwen2-moe"), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

// [experts, outputs, inputs / 32, 16] of MXFP4 as bfloat16 [experts, inputs, outputs].
Tensor written_out(const Tensor& blocks, const Tensor& scales) {
  static constexpr float kCodes[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  const std::int64_t experts = blocks.shape[0], outputs = blocks.shape[1], groups = blocks.shape[2], inputs = groups * 32;
  std::vector<std::uint16_t> values(static_cast<std::size_t>(experts * inputs * outputs));
  for (std::int64_t row = 0; row < experts * outputs; ++row) {
    for (std::int64_t k = 0; k < inputs; ++k) {
      const auto pair = static_cast<unsigned char>(blocks.bytes[static_cast<std::size_t>((row * inputs + k) / 2)]);
      const int code = k % 2 == 0 ? pair & 15 : pair >> 4;
      const int exponent = static_cast<unsigned char>(scales.bytes[static_cast<std::size_t>(row * groups + k / 32)]) - 127;
      const float value = std::ldexp(code < 8 ? kCodes[code] : -kCodes[code - 8], exponent);
      values[static_cast<std::size_t>((row / outputs * inputs + k) * outputs + row % outputs)] = f32_to_bf16(value);
    }
  }
  return tensor("BF16", {experts, inputs, outputs}, values);
}

TEST(PlainExperts, OfGptOssComputeWhatTheirMxfp4Does) {
  const fs::path from = fs::path(BRAID_BINARY_DIR) / "golden/models/gpt-oss";
  Folder plain(from, "plain-experts");
  const Tensors stored = plain.tensors;
  for (const auto& [name, blocks] : stored) {
    if (!name.ends_with("_blocks")) continue;
    const std::string stem = name.substr(0, name.size() - 7);
    plain.tensors[stem] = written_out(blocks, stored.at(stem + "_scales"));
    plain.tensors.erase(name);
    plain.tensors.erase(stem + "_scales");
  }
  plain.config.erase("quantization_config");
  plain.write_config();
  plain.write_tensors();
  for (const std::string tier : open_test_device().tiers) {
    const auto exact = logits_of(from.string(), tier, DType::kF32);
    EXPECT_EQ(logits_of(plain.path().string(), tier, DType::kF32), exact) << tier;
    const double rounded = mean_difference(logits_of(from.string(), tier, DType::kBF16), exact);
    EXPECT_LE(mean_difference(logits_of(plain.path().string(), tier, DType::kBF16), exact), 2 * rounded) << tier;
  }
  EXPECT_NE(error_quantised(plain.path().string()).find("leave --quantization out"), std::string::npos);
}

TEST(Quantisation, WhatIsNotSupportedIsNamed) {
  Folder folder(fs::path(BRAID_BINARY_DIR) / "golden/models/qwen3-moe", "quantised");
  const auto error = [&](const char* config) {
    folder.config["quantization_config"] = Json::parse(config);
    folder.write_config();
    const auto checkpoint = weights::open_checkpoint(folder.path().string());
    TestDevice device = open_test_device();
    const auto built = model::build(**checkpoint, {}, {device.kernels, device.stream.get(), {}});
    return built.ok() ? "" : built.error().message;
  };
  EXPECT_NE(error(R"({"quant_method": "awq"})").find("quantization_config.quant_method: expected fp8, fbgemm_fp8, compressed-tensors or mxfp4, found \"awq\""), std::string::npos);
  EXPECT_NE(error(R"({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"type": "int", "num_bits": 8}}}})").find("config_groups.g.weights: expected floats of 8 bits, or symmetric integers of 4 bits in groups of 32"), std::string::npos);
}

}  // namespace
}  // namespace braid
