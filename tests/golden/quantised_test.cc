// SPDX-License-Identifier: Apache-2.0
// Checkpoints quantised in the ways that others ship: a model computes what it computes from the same
// numbers written out in float32.
#include <gtest/gtest.h>

#include <cmath>

#include "kv/cache.h"
#include "model/model.h"
#include "tests/golden/model_folder.h"
#include "tests/golden/test_device.h"
#include "weights/checkpoint.h"

namespace braid {
namespace {

struct Matrix {
  std::int64_t rows, cols;
  std::vector<float> values;
};

Matrix matrix_of(const Tensor& t) {
  Matrix m{t.shape[0], t.shape[1], {}};
  const auto* data = reinterpret_cast<const std::uint16_t*>(t.bytes.data());
  for (std::size_t i = 0; i < t.bytes.size() / 2; ++i) m.values.push_back(bf16_to_f32(data[i]));
  return m;
}

template <class T>
Tensor tensor(const char* dtype, std::vector<std::int64_t> shape, const std::vector<T>& values) {
  return {dtype, std::move(shape), std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T))};
}

float largest(const Matrix& m, std::int64_t first, std::int64_t count) {
  float most = 1e-6f;
  for (std::int64_t i = first; i < first + count; ++i) most = std::max(most, std::fabs(m.values[static_cast<std::size_t>(i)]));
  return most;
}

// Replaces `m` by what the codes stand for.
void store_fp8(Tensors& to, const std::string& name, Matrix& m, std::int64_t per_scale, const std::vector<std::int64_t>& scales_shape) {
  std::vector<std::uint8_t> codes;
  std::vector<float> scales;
  for (std::int64_t i = 0; i < m.rows * m.cols; ++i) {
    if (i % per_scale == 0) scales.push_back(largest(m, i, per_scale) / 448.0f);
    float& value = m.values[static_cast<std::size_t>(i)];
    codes.push_back(f32_to_f8e4m3(value / scales.back()));
    value = f8e4m3_to_f32(codes.back()) * scales.back();
  }
  to[name] = tensor("F8_E4M3", {m.rows, m.cols}, codes);
  to[name + "_scale"] = tensor("F32", scales_shape, scales);
}

void store_int4(Tensors& to, const std::string& name, Matrix& m) {
  std::vector<std::uint32_t> words(m.values.size() / 8);
  std::vector<std::uint16_t> scales;
  for (std::size_t i = 0; i < m.values.size(); ++i) {
    if (i % 32 == 0) scales.push_back(f32_to_bf16(largest(m, static_cast<std::int64_t>(i), 32) / 7.5f));
    const float scale = bf16_to_f32(scales.back()), code = std::clamp(std::round(m.values[i] / scale), -8.0f, 7.0f);
    words[i / 8] |= static_cast<std::uint32_t>(static_cast<int>(code) + 8) << (i % 8 * 4);
    m.values[i] = code * scale;
  }
  to.erase(name);
  to[name + "_packed"] = tensor("I32", {m.rows, m.cols / 8}, words);
  to[name + "_scale"] = tensor("BF16", {m.rows, m.cols / 32}, scales);
  to[name + "_shape"] = tensor("I64", {2}, std::vector<std::int64_t>{m.rows, m.cols});
}

struct Scheme {
  const char* name;
  const char* config;  // quantization_config
  const char* which;   // matrices whose names have this
  void (*store)(Tensors&, const std::string&, Matrix&);
};

constexpr Scheme kSchemes[] = {
    {"fp8_per_tensor", R"({"quant_method": "fp8", "activation_scheme": "static"})", "_proj.weight",
     [](Tensors& to, const std::string& name, Matrix& m) {
       store_fp8(to, name, m, m.rows * m.cols, {});
       to[name.substr(0, name.rfind('.')) + ".input_scale"] = tensor("F32", {}, std::vector<float>{1});
     }},
    {"fp8_per_channel",
     R"({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"type": "float", "num_bits": 8, "strategy": "channel"}}}})",
     "_proj.weight", [](Tensors& to, const std::string& name, Matrix& m) { store_fp8(to, name, m, m.cols, {m.rows, 1}); }},
    {"int4_groups_of_32",
     R"({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"type": "int", "num_bits": 4, "strategy": "group", "group_size": 32, "symmetric": true}}}})",
     ".experts.", store_int4}};

constexpr int kTokens = 16;

std::vector<float> logits_of(const std::string& folder, const std::string& tier, DType compute) {
  const auto checkpoint = weights::open_checkpoint(folder);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.error().message;
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

double mean_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::fabs(static_cast<double>(a[i]) - b[i]);
  return sum / static_cast<double>(a.size());
}

class Quantised : public testing::TestWithParam<Scheme> {};

TEST_P(Quantised, ComputesWhatItsNumbersSay) {
  const fs::path from = fs::path(BRAID_BINARY_DIR) / "golden/models/qwen3-moe";
  Folder stored(from, "quantised"), widened(from, "widened");
  int count = 0;
  for (const auto& [name, original] : Tensors(stored.tensors)) {
    if (original.shape.size() != 2 || name.find(GetParam().which) == std::string::npos) continue;
    Matrix m = matrix_of(original);
    GetParam().store(stored.tensors, name, m);
    widened.tensors[name] = tensor("F32", original.shape, m.values);
    ++count;
  }
  EXPECT_GT(count, 100);
  stored.config["quantization_config"] = Json::parse(GetParam().config);
  stored.write_config();
  stored.write_tensors();
  widened.write_tensors();
  for (const std::string tier : open_test_device().tiers) {
    const auto exact = logits_of(widened.path().string(), tier, DType::kF32);
    EXPECT_EQ(logits_of(stored.path().string(), tier, DType::kF32), exact) << tier;
    const double rounded = mean_difference(logits_of(widened.path().string(), tier, DType::kBF16), exact);
    EXPECT_LE(mean_difference(logits_of(stored.path().string(), tier, DType::kBF16), exact), 2 * rounded) << tier;
  }
}

INSTANTIATE_TEST_SUITE_P(Schemes, Quantised, testing::ValuesIn(kSchemes), [](const auto& info) { return std::string(info.param.name); });

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
