// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "weights/checkpoint.h"
#include "weights/quantise.h"
#include "weights/safetensors.h"

namespace braid::weights {
namespace {

const std::string kModel = std::string(BRAID_SOURCE_DIR) + "/models/lexicon-30m";

std::string file_of(const std::string& header, std::size_t data) {
  const std::uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file + header + std::string(data, '\1');
}

std::string message_of(const std::string& file) {
  const auto parsed = parse_safetensors(file, "x.safetensors");
  return parsed.ok() ? "" : parsed.error().message;
}

TEST(Safetensors, NamesWhatIsWrong) {
  EXPECT_EQ(message_of(file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8)), "");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "found 0 bytes"},
      {file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7), "truncated"},
      {file_of(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8), "expected 12 bytes"},
      {file_of(R"({"a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}})", 8), "'F99'"},
      {file_of(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8), "natural"},
      {file_of(R"({"a":{"dtype":"F32","shape":[4611686018427387904,16],"data_offsets":[0,8]}})", 8), "possible size"},
      {file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8), "twice"},
      {file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12), "overlap"},
      {file_of("[1]", 0), "JSON object"},
      {file_of("{", 0), "JSON object"},
      {file_of(R"({"a":[]})", 0), "tensor a"}};
  for (const auto& [file, expected] : cases) EXPECT_NE(message_of(file).find(expected), std::string::npos) << message_of(file);
}

TEST(Checkpoint, ReadsAShardedFolderWithBlockScales) {
  const auto opened = open_checkpoint(kModel);
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  const auto stored = (*opened)->matrix("model.layers.0.self_attn.kv_a_proj_with_mqa.weight", 576, 256);
  ASSERT_TRUE(stored.ok()) << stored.error().message;
  EXPECT_EQ(stored->values.dtype, DType::kF8E4M3);
  EXPECT_EQ(stored->scales.shape, (Shape{5, 2}));
  EXPECT_EQ((*opened)->vector("model.norm.weight", 256)->size(), 256u);
}

TEST(Checkpoint, SaysWhichTensorIsMissingOrMisshapenOrSurplus) {
  const auto opened = open_checkpoint(kModel);
  const auto missing = (*opened)->matrix("nobody.weight", 1, 2);
  EXPECT_NE(missing.error().message.find("nobody.weight is missing"), std::string::npos);
  const auto shape = (*opened)->matrix("lm_head.weight", 4096, 257);
  EXPECT_NE(shape.error().message.find("expected shape [4096, 257], found [4096, 256]"), std::string::npos);
  EXPECT_FALSE((*opened)->check_surplus([](const std::string&) { return false; }).ok());
  EXPECT_TRUE((*opened)->check_surplus([](const std::string&) { return true; }).ok());
}

TEST(Checkpoint, ReadsShardsWithoutAnIndex) {
  const auto folder = std::filesystem::temp_directory_path() / ("braid-shards-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "config.json") << "{}";
  std::ofstream(folder / "a.safetensors") << file_of(R"({"a":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]}})", 8);
  std::ofstream(folder / "b.safetensors") << file_of(R"({"b":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]}})", 8);
  const auto opened = open_checkpoint(folder.string());
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  EXPECT_TRUE((*opened)->vector("a", 4).ok());
  EXPECT_TRUE((*opened)->matrix("b", 2, 2).ok());
  std::ofstream(folder / "c.safetensors") << file_of(R"({"a":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]}})", 8);
  EXPECT_NE(open_checkpoint(folder.string()).error().message.find("tensor a"), std::string::npos);
  std::filesystem::remove_all(folder);
}

TEST(Checkpoint, FindsTheMatricesOfAStack) {
  const auto folder = std::filesystem::temp_directory_path() / ("braid-stack-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "config.json") << "{}";
  std::string file = file_of(R"({"a":{"dtype":"BF16","shape":[2,1,2],"data_offsets":[0,8]},)"
                             R"("b_blocks":{"dtype":"U8","shape":[3,2,1,16],"data_offsets":[8,104]},)"
                             R"("b_scales":{"dtype":"U8","shape":[3,2,1],"data_offsets":[104,110]}})", 110);
  const std::size_t data = file.size() - 110;
  file[data + 4] = '\0', file[data + 5] = '\x40';  // 2, the first of a[1]
  file[data + 8 + 2 * 32 + 16] = '\x70';          // 0 and 6, the first of row 1 of b[2]
  file[data + 104 + 5] = '\x80';                  // times 2
  std::ofstream(folder / "a.safetensors") << file;
  const auto opened = open_checkpoint(folder.string());
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  const auto a = (*opened)->stacked("a", 1, 2, 1, 2);
  ASSERT_TRUE(a.ok()) << a.error().message;
  EXPECT_EQ(a->values.shape, (Shape{1, 2}));
  EXPECT_EQ(a->values.at(0), 2);
  const auto b = (*opened)->stacked("b", 2, 3, 2, 32);
  ASSERT_TRUE(b.ok()) << b.error().message;
  EXPECT_EQ(b->values.shape, (Shape{2, 32}));
  EXPECT_EQ(b->values.at(32), 0);
  EXPECT_EQ(b->values.at(33), 6);
  EXPECT_EQ(b->scales.at(1), 2);
  const auto wrong = (*opened)->stacked("b", 0, 3, 2, 64);
  EXPECT_NE(wrong.error().message.find("b_blocks: expected shape [3, 2, 2, 16], found [3, 2, 1, 16]"), std::string::npos);
  std::filesystem::remove_all(folder);
}

TEST(QuantisedCheckpoint, BlocksHaveTheirLargestMagnitudeAt448AndOthersWithinASixteenth) {
  std::vector<float> values(130 * 200);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i)) * (i % 7 == 0 ? 30.0f : 1.0f);
  for (std::size_t c = 128; c < 200; ++c) values[129 * 200 + c] = values[128 * 200 + c] = 0;
  Stored wide;
  wide.values = {values.data(), DType::kF32, {130, 200}};
  const Stored f8 = quantise_fp8(wide);
  ASSERT_EQ(f8.scales.shape, (Shape{2, 2}));
  EXPECT_EQ(f8.scales.at(3), 1) << "a block of zeros";
  for (std::int64_t r = 0; r < 130; ++r) {
    for (std::int64_t c = 0; c < 200; ++c) {
      const float scale = f8.scales.at(r / 128 * 2 + c / 128), want = values[static_cast<std::size_t>(r * 200 + c)];
      ASSERT_NEAR(f8.values.at(r * 200 + c) * scale, want, std::max(std::fabs(want) / 16, scale / 512));
    }
  }
  wide.values.data = nullptr;
  EXPECT_EQ(quantise_fp8(wide).values.dtype, DType::kF8E4M3);
}

TEST(QuantisedCheckpoint, LeavesRoutersEmbeddingsAndTheHead) {
  auto opened = dummy_checkpoint(std::string(BRAID_SOURCE_DIR) + "/bench/shapes/lite4-bf16");
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  const auto checkpoint = quantised_fp8(std::move(*opened));
  const auto type = [&](const char* name) { return checkpoint->matrix(name, 4, 4)->values.dtype; };
  for (const char* name : {"model.layers.1.mlp.gate.weight", "model.layers.1.mlp.shared_expert_gate.weight", "model.embed_tokens.weight", "lm_head.weight",
                           "model.layers.9.eh_proj.weight", "model.layers.1.mlp.experts.gate_up_proj_bias"}) {
    EXPECT_EQ(type(name), DType::kBF16) << name;
  }
  for (const char* name : {"model.layers.1.self_attn.o_proj.weight", "model.layers.1.block_sparse_moe.experts.3.w1.weight"}) EXPECT_EQ(type(name), DType::kF8E4M3) << name;
  EXPECT_EQ(checkpoint->stacked("model.layers.1.feed_forward.experts.down_proj", 0, 2, 4, 4)->values.dtype, DType::kF8E4M3);
}

TEST(DummyCheckpoint, ReportsAQuantisationThatIsNoText) {
  const auto folder = std::filesystem::temp_directory_path() / ("braid-dummy-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "config.json") << R"({"quantization_config": {"quant_method": 8}})";
  const auto dummy = dummy_checkpoint(folder.string());
  ASSERT_FALSE(dummy.ok());
  EXPECT_NE(dummy.error().message.find("quant_method"), std::string::npos);
  std::filesystem::remove_all(folder);
}

TEST(DummyCheckpoint, MakesTheSameWeightsEachTime) {
  const auto dummy = dummy_checkpoint(kModel);
  ASSERT_TRUE(dummy.ok());
  const auto a = (*dummy)->matrix("model.layers.0.mlp.up_proj.weight", 130, 200);
  const auto b = (*dummy)->matrix("model.layers.0.mlp.up_proj.weight", 130, 200);
  EXPECT_EQ(a->values.dtype, DType::kF8E4M3);
  EXPECT_EQ(a->scales.shape, (Shape{2, 2}));
  EXPECT_EQ(std::memcmp(a->values.data, b->values.data, 130 * 200), 0);
  EXPECT_EQ((*dummy)->matrix("lm_head.weight", 4, 4)->values.dtype, DType::kBF16);
}

}  // namespace
}  // namespace braid::weights
