// SPDX-License-Identifier: Apache-2.0
#include "model/config.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace braid::model {
namespace {

std::string lexicon() {
  std::ostringstream text;
  text << std::ifstream(std::string(BRAID_SOURCE_DIR) + "/models/lexicon-30m/config.json").rdbuf();
  return text.str();
}

std::string with(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos);
  return text.replace(at, from.size(), to);
}

TEST(Config, ReadsTheDefaultModel) {
  const auto c = parse_config(lexicon(), "config.json");
  ASSERT_TRUE(c.ok()) << c.error().message;
  EXPECT_EQ(c->moe.experts, 32);
  EXPECT_EQ(c->moe.routing.groups, 4);
  EXPECT_TRUE(c->moe.has_bias);
  EXPECT_FALSE(c->is_moe(0));
  EXPECT_TRUE(c->is_moe(1));
  EXPECT_EQ(c->eos_ids, std::vector<std::int32_t>{1});
}

TEST(Config, NamesTheKeyThatIsWrong) {
  const std::vector<std::array<std::string, 3>> cases = {
      {"\"hidden_size\": 256", "\"hidden_sizes\": 256", "hidden_size is missing"},
      {"\"hidden_size\": 256", "\"hidden_size\": -1", "hidden_size: expected"},
      {"\"num_experts_per_tok\": 4", "\"num_experts_per_tok\": 40", "num_experts_per_tok"},
      {"\"n_group\": 4", "\"n_group\": 5", "n_group"},
      {"\"sigmoid\"", "\"tanh\"", "scoring_func"},
      {"\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"dynamic\"}", "rope_scaling.rope_type"},
      {"\"hidden_act\": \"silu\"", "\"hidden_act\": \"gelu\"", "hidden_act"},
      {"\"quant_method\": \"fp8\"", "\"quant_method\": 8", "quantization_config"},
      {"\"rope_theta\": 10000", "\"rope_thetas\": 10000", "rope_theta is missing"},
      {"\"rope_scaling\": null", "\"rope_parameters\": {\"rope_type\": \"longrope\"}", "rope_parameters.rope_type"},
      {"\"hidden_size\": 256", "\"hidden_size\": 256.5", "hidden_size: expected a whole number"},
      {"\"num_hidden_layers\": 6", "\"num_hidden_layers\": 1000000000", "num_hidden_layers: expected"}};
  for (const auto& [from, to, expected] : cases) {
    const auto c = parse_config(with(lexicon(), from, to), "config.json");
    ASSERT_FALSE(c.ok()) << to;
    EXPECT_NE(c.error().message.find(expected), std::string::npos) << c.error().message;
  }
  EXPECT_FALSE(parse_config("[", "config.json").ok());
}

TEST(Config, ReadsRotationsFromEitherOfTheirPublishedPlaces) {
  const std::string yarn = "\"rope_theta\": 5e4, \"rope_type\": \"yarn\", \"factor\": 32, \"original_max_position_embeddings\": 64";
  const std::string moved = with(lexicon(), "\"rope_theta\": 10000", "\"rope_parameters\": {" + yarn + "}");
  const auto c = parse_config(moved, "config.json");
  ASSERT_TRUE(c.ok()) << c.error().message;
  EXPECT_EQ(c->rope_theta, 5e4);
  EXPECT_EQ(c->rope_scaling.factor, 32);
  EXPECT_EQ(c->rope_scaling.original_positions, 64);
  EXPECT_EQ(c->rope_scaling.attention_factor, 0);
  const auto said = parse_config(with(moved, "\"factor\": 32", "\"factor\": 32, \"attention_factor\": 1.5"), "config.json");
  ASSERT_TRUE(said.ok()) << said.error().message;
  EXPECT_EQ(said->rope_scaling.attention_factor, 1.5);
}

// A config.json of a family with grouped-query attention, and `more` keys.
std::string heads_of_four(const std::string& architecture, const std::string& more) {
  return R"({"architectures": [")" + architecture + R"("], "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48,
    "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "rope_theta": 10000)" + (more.empty() ? "" : ", " + more) + "}";
}

Config config_of(const std::string& architecture, const std::string& more) {
  const auto c = parse_config(heads_of_four(architecture, more), "config.json");
  EXPECT_TRUE(c.ok()) << c.error().message;
  return c.ok() ? *c : Config();
}

std::string error_of(const std::string& architecture, const std::string& more) {
  const auto c = parse_config(heads_of_four(architecture, more), "config.json");
  return c.ok() ? "" : c.error().message;
}

TEST(Config, ReadsWhatTellsTheFamiliesApart) {
  const Config llama = config_of("LlamaForCausalLM", "\"attention_bias\": true");
  EXPECT_EQ(llama.head_dim, 8);
  EXPECT_TRUE(llama.qkv_bias && llama.o_bias && llama.head_norm == HeadNorm::kNone);
  EXPECT_FALSE(llama.is_moe(3));

  const Config mixtral = config_of("MixtralForCausalLM", "\"num_local_experts\": 8, \"num_experts_per_tok\": 2");
  EXPECT_TRUE(mixtral.is_moe(0) && mixtral.moe.routing.normalise);
  EXPECT_EQ(mixtral.moe.inter, 48);
  EXPECT_EQ(mixtral.names.up, "w3");

  const std::string experts = "\"num_experts\": 8, \"num_experts_per_tok\": 2, \"moe_intermediate_size\": 16";
  const Config qwen2 = config_of("Qwen2MoeForCausalLM", experts + ", \"shared_expert_intermediate_size\": 40, \"mlp_only_layers\": [1], \"decoder_sparse_step\": 2");
  EXPECT_TRUE(qwen2.qkv_bias && !qwen2.o_bias && qwen2.moe.routing.shared_gate);
  EXPECT_EQ(qwen2.moe.shared_inter, 40);
  EXPECT_FALSE(qwen2.is_moe(0) || qwen2.is_moe(1) || qwen2.is_moe(2));
  EXPECT_TRUE(qwen2.is_moe(3));

  const Config glm = config_of("Glm4MoeForCausalLM", "\"n_routed_experts\": 8, \"num_experts_per_tok\": 2, \"moe_intermediate_size\": 16, \"n_shared_experts\": 2, "
                               "\"first_k_dense_replace\": 1, \"partial_rotary_factor\": 0.5, \"attention_bias\": true, \"num_nextn_predict_layers\": 1");
  EXPECT_EQ(glm.rope_dim, 4);
  EXPECT_EQ(glm.moe.shared_inter, 32);
  EXPECT_EQ(glm.mtp_layers, 1);
  const std::string nested = "\"n_routed_experts\": 8, \"num_experts_per_tok\": 2, \"moe_intermediate_size\": 16, \"rope_parameters\": {\"partial_rotary_factor\": 0.25}";
  EXPECT_EQ(config_of("Glm4MoeForCausalLM", nested).rope_dim, 2);
  EXPECT_TRUE(glm.qkv_bias && !glm.o_bias && glm.head_norm == HeadNorm::kNone && glm.moe.has_bias);
  EXPECT_FALSE(glm.is_moe(0));
}

// With the language model's keys in a part of their own.
std::string llama4(const std::string& more) {
  return R"({"architectures": ["Llama4ForConditionalGeneration"], "text_config": {"vocab_size": 64, "hidden_size": 32,
    "intermediate_size": 16, "intermediate_size_mlp": 48, "num_hidden_layers": 8, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 64, "rope_theta": 10000, "num_local_experts": 4, "interleave_moe_layer_step": 2,
    "attention_chunk_size": 8, "floor_scale": 16, "attn_temperature_tuning": 4, "num_experts_per_tok": )" + more + "}}";
}

TEST(Config, ReadsTheLanguageModelOfLlama4) {
  const auto c = parse_config(llama4("1"), "config.json");
  ASSERT_TRUE(c.ok()) << c.error().message;
  EXPECT_TRUE(c->turns(2) && !c->turns(3) && !c->turns(7));
  EXPECT_EQ(c->span_of(2), LayerSpan::kChunk);
  EXPECT_EQ(c->span_of(3), LayerSpan::kFull);
  EXPECT_EQ(c->attention_chunk, 8);
  EXPECT_EQ(c->temperature.scale, 0.1);
  EXPECT_EQ(c->temperature.floor, 16);
  EXPECT_TRUE(!c->is_moe(0) && c->is_moe(1) && c->moe.scaled_inputs);
  EXPECT_EQ(c->inter, 48);
  EXPECT_EQ(c->moe.shared_inter, 16);
  EXPECT_EQ(c->layer_name(3), "language_model.model.layers.3");
  const auto regular = parse_config(llama4(R"(1, "no_rope_layer_interval": 2, "moe_layers": [0, 7])"), "config.json");
  ASSERT_TRUE(regular.ok()) << regular.error().message;
  EXPECT_TRUE(regular->turns(0) && !regular->turns(1) && !regular->turns(7));
  EXPECT_TRUE(regular->is_moe(0) && !regular->is_moe(1) && regular->is_moe(7));
  EXPECT_NE(parse_config(llama4("2"), "config.json").error().message.find("num_experts_per_tok: expected 1, found 2"), std::string::npos);
  EXPECT_NE(parse_config(llama4("1, \"no_rope_layers\": [1, 0]"), "config.json").error().message.find("each of 8 layers"), std::string::npos);
}

TEST(Config, RefusesWhatAFamilyIsNotComputedWith) {
  EXPECT_NE(error_of("LlamaForCausalLM", "\"mlp_bias\": true").find("mlp_bias: true is not supported"), std::string::npos);
  EXPECT_NE(error_of("Qwen3ForCausalLM", "\"use_sliding_window\": true").find("sliding_window is missing"), std::string::npos);
  EXPECT_NE(error_of("Qwen2MoeForCausalLM", "\"use_sliding_window\": true").find("use_sliding_window: layer_types must say"), std::string::npos);
  EXPECT_NE(error_of("Qwen3MoeForCausalLM", "\"num_experts\": 8, \"num_experts_per_tok\": 2, \"moe_intermediate_size\": 16, \"mlp_only_layers\": 3").find("mlp_only_layers: expected a list"), std::string::npos);
  const std::string unknown = error_of("FalconForCausalLM", "");
  EXPECT_NE(unknown.find("'FalconForCausalLM' is not supported (supported: DeepseekV2ForCausalLM, "), std::string::npos) << unknown;
}

TEST(Config, ReadsHowLlama3StretchesFrequencies) {
  const std::string scaling = "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, \"high_freq_factor\": ";
  const std::string end = ", \"original_max_position_embeddings\": 16}";
  const Config c = config_of("LlamaForCausalLM", scaling + "4" + end);
  EXPECT_EQ(c.rope_scaling.kind, RopeScaling::Kind::kLlama3);
  EXPECT_EQ(c.rope_scaling.high_freq_factor, 4);
  EXPECT_NE(error_of("LlamaForCausalLM", scaling + "0.5" + end).find("high_freq_factor: expected a number from 1.0"), std::string::npos);
}

TEST(Config, ReadsWhichKeysEachLayerSees) {
  const auto with_types = [](const std::string& types) {
    return parse_config(R"({"architectures": ["Qwen3ForCausalLM"], "vocab_size": 8, "hidden_size": 8, "num_hidden_layers": 2,
                            "num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 64, "rope_theta": 10000,
                            "layer_types": )" + types + "}", "config.json");
  };
  const auto c = with_types(R"(["sliding_attention", "full_attention"], "use_sliding_window": true, "sliding_window": 128)");
  ASSERT_TRUE(c.ok()) << c.error().message;
  EXPECT_EQ(c->span_of(0), LayerSpan::kWindow);
  EXPECT_EQ(c->span_of(1), LayerSpan::kFull);
  EXPECT_EQ(c->sliding_window, 128);
  const auto unused = with_types(R"(["sliding_attention", "full_attention"], "use_sliding_window": false, "sliding_window": 128)");
  ASSERT_TRUE(unused.ok()) << unused.error().message;
  EXPECT_EQ(unused->span_of(0), LayerSpan::kFull);
  const std::vector<std::pair<const char*, const char*>> wrong = {
      {R"(["sliding_attention", "full_attention"])", "sliding_window is missing"},
      {R"(["full_attention", "chunked_attention"])", "attention_chunk_size is missing"},
      {R"(["full_attention", "linear_attention"])", "'linear_attention' is not supported"},
      {R"(["full_attention"])", "each of 2 layers"}};
  for (const auto& [types, message] : wrong) {
    const auto bad = with_types(types);
    ASSERT_FALSE(bad.ok()) << types;
    EXPECT_NE(bad.error().message.find(message), std::string::npos) << bad.error().message;
  }
}

TEST(Config, ReadsWindowsThatNoListOfLayersTells) {
  const Config qwen = config_of("Qwen3ForCausalLM", R"("use_sliding_window": true, "sliding_window": 16, "max_window_layers": 3)");
  EXPECT_EQ(qwen.span_of(2), LayerSpan::kFull);
  EXPECT_EQ(qwen.span_of(3), LayerSpan::kWindow);
  EXPECT_EQ(qwen.sliding_window, 16);
  const Config mixtral = config_of("MixtralForCausalLM", R"("num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": 8)");
  EXPECT_EQ(mixtral.span_of(0), LayerSpan::kWindow);
  EXPECT_EQ(mixtral.sliding_window, 8);
}

TEST(Config, ReadsGptOss) {
  const std::string keys = R"("num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": 16, "swiglu_limit": 5,
    "quantization_config": {"quant_method": "mxfp4"},
    "rope_scaling": {"rope_type": "yarn", "factor": 32, "original_max_position_embeddings": 64, "truncate": false})";
  const Config c = config_of("GptOssForCausalLM", keys + ", \"intermediate_size\": 64");
  EXPECT_TRUE(c.sinks && c.qkv_bias && c.o_bias && c.moe.router_bias && !c.rope_scaling.truncate);
  EXPECT_EQ(c.moe.glu.limit, 5);
  EXPECT_EQ(c.span_of(2), LayerSpan::kWindow);
  EXPECT_EQ(c.span_of(3), LayerSpan::kFull);
  EXPECT_NE(error_of("GptOssForCausalLM", keys).find("multiples of 32, found 48"), std::string::npos);
  EXPECT_EQ(config_of("GptOssForCausalLM", keys + ", \"quantization_config\": null").names.experts, ExpertTensors::kAlternatingColumns);
  EXPECT_NE(error_of("GptOssForCausalLM", keys + R"(, "quantization_config": {"quant_method": "fp8"})").find("mxfp4 or plain experts"), std::string::npos);
}

TEST(Config, SaysWhetherTheCheckpointIsMeantForFp8Activations) {
  EXPECT_TRUE(parse_config(lexicon(), "config.json")->f8_activations);
  const std::string scheme = "\"activation_scheme\": ";
  EXPECT_FALSE(parse_config(with(lexicon(), scheme + "\"dynamic\"", scheme + "\"static\""), "config.json")->f8_activations);
}

}  // namespace
}  // namespace braid::model
