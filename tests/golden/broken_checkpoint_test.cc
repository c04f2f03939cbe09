// SPDX-License-Identifier: Apache-2.0
// What can be wrong with a model folder: each fault ends as one error that names the file, the
// tensor or key, what was expected and what was found.
#include <gtest/gtest.h>

#include "backend/cpu/backend.h"
#include "model/model.h"
#include "tests/golden/model_folder.h"
#include "weights/checkpoint.h"

namespace braid {
namespace {

// A copy of a small model with FP8 weights.
class Breakable : public Folder {
 public:
  Breakable() : Folder(fs::path(BRAID_BINARY_DIR) / "golden/models/qwen3-moe-fp8", "broken") {}

  // Empty when the model can be built.
  std::string error() const {
    auto checkpoint = weights::open_checkpoint(path().string());
    if (!checkpoint.ok()) return checkpoint.error().message;
    const auto stream = cpu::make_stream({.threads = 1});
    model::Options options;
    options.max_model_len = options.max_batched_tokens = options.max_sequences = 16;
    const auto built = model::build(**checkpoint, options, {&cpu::kernels(), stream.get(), {}});
    return built.ok() ? "" : built.error().message;
  }
};

const std::string kQuery = "model.layers.0.self_attn.q_proj.weight";
const std::string kExpert = "model.layers.2.mlp.experts.7.down_proj.weight";

struct Fault {
  const char* name;
  void (*plant)(Breakable&);
  std::vector<std::string> says;
};

const Fault kFaults[] = {
    {"TruncatedData",
     [](Breakable& f) { fs::resize_file(f.path() / "model.safetensors", fs::file_size(f.path() / "model.safetensors") - 1); },
     {"/model.safetensors: tensor model.norm.weight: bytes [", "lie outside the file's", "truncated"}},
    {"TruncatedHeader", [](Breakable& f) { fs::resize_file(f.path() / "model.safetensors", 100); },
     {"/model.safetensors: header of ", "does not fit the file's 100"}},
    {"EmptyFile", [](Breakable& f) { fs::resize_file(f.path() / "model.safetensors", 0); },
     {"/model.safetensors: expected a safetensors file, found 0 bytes"}},
    {"NoSafetensors", [](Breakable& f) { f.write("model.safetensors", "version https://git-lfs.github.com/spec/v1\n"); },
     {"/model.safetensors: header of ", "no safetensors file"}},
    {"FolderInsteadOfFile",
     [](Breakable& f) {
       fs::remove(f.path() / "model.safetensors");
       fs::create_directory(f.path() / "model.safetensors");
     },
     {"/model.safetensors is not a regular file"}},
    {"NoWeights", [](Breakable& f) { fs::remove(f.path() / "model.safetensors"); }, {"has no *.safetensors file"}},
    {"MatrixOfAnotherShape",
     [](Breakable& f) {
       std::swap(f.tensors[kQuery].shape[0], f.tensors[kQuery].shape[1]);
       f.write_tensors();
     },
     {"/model.safetensors: tensor " + kQuery + ": expected shape [", "], found [160, "}},
    {"MatrixOfAnotherRank",
     [](Breakable& f) {
       f.tensors[kQuery].shape.push_back(1);
       f.write_tensors();
     },
     {"/model.safetensors: tensor " + kQuery + ": expected shape [", ", 160, 1]"}},
    {"VectorOfAnotherShape",
     [](Breakable& f) {
       f.tensors["model.norm.weight"].shape = {80, 2};
       f.write_tensors();
     },
     {"/model.safetensors: tensor model.norm.weight: expected shape [160], found [80, 2]"}},
    {"MissingExpert",
     [](Breakable& f) {
       f.tensors.erase(kExpert);
       f.write_tensors();
     },
     {": tensor " + kExpert + " is missing (expected shape [160, "}},
    {"MissingScales",
     [](Breakable& f) {
       f.tensors.erase(kExpert + "_scale_inv");
       f.write_tensors();
     },
     {": tensor " + kExpert + "_scale_inv is missing (expected shape [2, 2])"}},
    {"ScalesOfAnotherShape",
     [](Breakable& f) {
       f.tensors[kExpert + "_scale_inv"].shape = {4, 1};
       f.write_tensors();
     },
     {"/model.safetensors: tensor " + kExpert + "_scale_inv: expected shape [2, 2], found [4, 1]"}},
    {"ScalesOfAnotherType",
     [](Breakable& f) {
       f.tensors[kExpert + "_scale_inv"] = {"U8", {2, 2}, "abcd"};
       f.write_tensors();
     },
     {"/model.safetensors: tensor " + kExpert + "_scale_inv: expected one of float32, bfloat16, float16, found uint8"}},
    {"MatrixOfAnotherType",
     [](Breakable& f) {
       f.tensors[kQuery].dtype = "I8";
       f.write_tensors();
     },
     {"/model.safetensors: tensor " + kQuery + ": expected one of float32, bfloat16, float16, float8_e4m3fn, found int8"}},
    {"VectorOfAnotherType",
     [](Breakable& f) {
       f.tensors["model.norm.weight"] = {"I32", {160}, std::string(640, '\0')};
       f.write_tensors();
     },
     {"/model.safetensors: tensor model.norm.weight: expected one of float32, bfloat16, float16, found int32"}},
    {"SurplusTensors",
     [](Breakable& f) {
       f.tensors["model.layers.0.self_attn.q_proj.bias"] = {"BF16", {3}, "abcdef"};
       f.tensors["model.layers.1.self_attn.q_proj.bias"] = {"BF16", {3}, "abcdef"};
       f.write_tensors();
     },
     {"/model.safetensors: tensor model.layers.0.self_attn.q_proj.bias of shape [3] and 1 more are not expected by config.json"}},
    {"TensorInTwoFiles",
     [](Breakable& f) {
       fs::rename(f.path() / "model.safetensors", f.path() / "a.safetensors");
       f.write("b.safetensors", file_of({{kQuery, f.tensors[kQuery]}}));
     },
     {"/b.safetensors: tensor " + kQuery + " is in ", "/a.safetensors too"}},
    {"ConfigOfALargerModel",
     [](Breakable& f) {
       f.config["vocab_size"] = 321;
       f.write_config();
     },
     {"/model.safetensors: tensor model.embed_tokens.weight: expected shape [321, 160], found [320, 160]"}},
    {"ConfigOfFewerExperts",
     [](Breakable& f) {
       f.config["num_experts"] = 7;
       f.write_config();
     },
     {"/model.safetensors: tensor model.layers.0.mlp.gate.weight: expected shape [7, 160], found [8, 160]"}},
    {"NoConfig", [](Breakable& f) { fs::remove(f.path() / "config.json"); }, {"can't read ", "/config.json"}},
    {"ConfigIsNoJson", [](Breakable& f) { f.write("config.json", "{"); }, {"/config.json is not a JSON object"}},
    {"UnknownArchitecture",
     [](Breakable& f) {
       f.config["architectures"] = {"PerceptronForCausalLM"};
       f.write_config();
     },
     {"/config.json: architecture 'PerceptronForCausalLM' is not supported (supported: ", "Qwen3MoeForCausalLM"}},
    {"NoArchitecture",
     [](Breakable& f) {
       f.config["architectures"] = "Qwen3MoeForCausalLM";
       f.write_config();
     },
     {"/config.json: architectures"}},
    {"UnknownQuantisation",
     [](Breakable& f) {
       f.config["quantization_config"]["weight_block_size"] = {64, 64};
       f.write_config();
     },
     {"/config.json: quantization_config.weight_block_size: expected [128, 128], found [64,64]"}},
    {"IndexIsNoJson", [](Breakable& f) { f.write("model.safetensors.index.json", "["); },
     {"/model.safetensors.index.json: expected a JSON object with weight_map"}},
    {"IndexLeavesTheFolder",
     [](Breakable& f) { f.write("model.safetensors.index.json", R"({"weight_map": {"w": "../model.safetensors"}})"); },
     {"/model.safetensors.index.json: tensor w names no file of this folder"}},
    {"IndexNamesAnAbsentFile",
     [](Breakable& f) { f.write("model.safetensors.index.json", R"({"weight_map": {"w": "model-2.safetensors"}})"); },
     {"can't open ", "/model-2.safetensors: No such file"}},
};

class BrokenCheckpoint : public testing::TestWithParam<Fault> {};

TEST_P(BrokenCheckpoint, IsOneErrorThatNamesTheFault) {
  Breakable folder;
  GetParam().plant(folder);
  const std::string error = folder.error();
  for (const auto& part : GetParam().says) EXPECT_NE(error.find(part), std::string::npos) << "expected: " << part << "\nfound: " << error;
  EXPECT_EQ(error.find('\n'), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Faults, BrokenCheckpoint, testing::ValuesIn(kFaults),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Checkpoint, TensorsNeedNoAlignmentInTheFile) {
  Breakable folder;
  EXPECT_EQ(folder.error(), "");
  folder.write("model.safetensors", file_of(folder.tensors, 1));
  EXPECT_EQ(folder.error(), "");
}

}  // namespace
}  // namespace braid
