// SPDX-License-Identifier: Apache-2.0
#include "model/config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

namespace braid::model {
namespace {

using Json = nlohmann::json;

// Reads keys and remembers the first thing that was wrong.
class Reader {
 public:
  Reader(const Json& json, std::string path) : json_(json), path_(std::move(path)) {}

  int positive(const char* key, int most = kLargest) { return whole(key, std::nullopt, 1, most); }
  int count(const char* key, int fallback) { return whole(key, fallback, 0, kLargest); }
  double number(const char* key, std::optional<double> fallback, double low, double high) {
    const auto found = json_.find(key);
    if (found == json_.end() || found->is_null()) {
      if (!fallback) fail(std::string(key) + " is missing");
      return fallback.value_or(low);
    }
    if (!found->is_number() || found->get<double>() < low || found->get<double>() > high) {
      fail(std::string(key) + ": expected a number from " + Json(low).dump() + " to " + Json(high).dump() + ", found " + found->dump());
      return low;
    }
    return found->get<double>();
  }
  bool flag(const char* key, bool fallback) {
    const auto found = json_.find(key);
    if (found == json_.end() || found->is_null()) return fallback;
    if (!found->is_boolean()) fail(std::string(key) + ": expected true or false, found " + found->dump());
    return found->is_boolean() ? found->get<bool>() : fallback;
  }
  std::string text(const char* key, const std::string& fallback) {
    const auto found = json_.find(key);
    if (found == json_.end() || found->is_null()) return fallback;
    if (!found->is_string()) fail(std::string(key) + ": expected text, found " + found->dump());
    return found->is_string() ? found->get<std::string>() : fallback;
  }
  void fail(const std::string& what) {
    if (!error_) error_ = invalid_argument(path_ + ": " + what);
  }
  const std::optional<Error>& error() const { return error_; }
  const Json& json() const { return json_; }

 private:
  static constexpr int kLargest = 1 << 30;

  int whole(const char* key, std::optional<double> fallback, int low, int high) {
    const double value = number(key, fallback, low, high);
    if (value != std::floor(value)) fail(std::string(key) + ": expected a whole number, found " + Json(value).dump());
    return static_cast<int>(value);
  }

  const Json& json_;
  std::string path_;
  std::optional<Error> error_;
};

void read_yarn(Reader& s, Config& c) {
  c.rope_scaling.factor = s.number("factor", std::nullopt, 1, 1e6);
  c.rope_scaling.original_positions =
      static_cast<std::int64_t>(s.number("original_max_position_embeddings", std::nullopt, 1, 1e9));
  c.rope_scaling.beta_fast = s.number("beta_fast", 32, 1e-9, 1e9);
  c.rope_scaling.beta_slow = s.number("beta_slow", 1, 1e-9, 1e9);
  c.rope_scaling.mscale = s.number("mscale", 1, 0, 1e6);
  c.rope_scaling.mscale_all_dim = s.number("mscale_all_dim", 0, 0, 1e6);
}

// "rope_theta" and "rope_scaling", or both in "rope_parameters" as newer checkpoints have them.
void read_rotation(Reader& r, Config& c) {
  const bool together = r.json().contains("rope_parameters");
  const std::string key = together ? "rope_parameters" : "rope_scaling";
  const auto found = r.json().find(key);
  const bool given = found != r.json().end() && !found->is_null();
  if (given && !found->is_object()) return r.fail(key + ": expected an object");
  const Json none = Json::object();
  Reader s(given ? *found : none, key);
  const bool inside = together && given && found->contains("rope_theta");
  c.rope_theta = (inside ? s : r).number("rope_theta", std::nullopt, 1, 1e12);
  const std::string type = s.text("rope_type", s.text("type", "default"));
  if (type == "yarn") read_yarn(s, c);
  else if (type != "default") r.fail(key + ".rope_type: '" + type + "' is not supported (yarn is)");
  if (s.error()) r.fail(s.error()->message);
}

LayerSpan span_named(const std::string& type, Reader& r) {
  if (type == "sliding_attention") return LayerSpan::kWindow;
  if (type == "chunked_attention") return LayerSpan::kChunk;
  if (type != "full_attention") {
    r.fail("layer_types: '" + type + "' is not supported (full_attention, sliding_attention and chunked_attention are)");
  }
  return LayerSpan::kFull;
}

void read_spans(Reader& r, Config& c) {
  const auto types = r.json().find("layer_types");
  if (types == r.json().end() || types->is_null()) return;
  if (!types->is_array() || types->size() < static_cast<std::size_t>(c.layers)) {
    return r.fail("layer_types: expected an entry for each of " + std::to_string(c.layers) + " layers, found " + types->dump());
  }
  for (int layer = 0; layer < c.layers; ++layer) {
    const auto& type = (*types)[static_cast<std::size_t>(layer)];
    c.spans.push_back(span_named(type.is_string() ? type.get<std::string>() : type.dump(), r));
  }
  const auto any = [&](LayerSpan span) { return std::find(c.spans.begin(), c.spans.end(), span) != c.spans.end(); };
  if (any(LayerSpan::kWindow)) c.sliding_window = r.positive("sliding_window");
  if (any(LayerSpan::kChunk)) c.attention_chunk = r.positive("attention_chunk_size");
}

void read_quantization(Reader& r, Config& c) {
  const auto found = r.json().find("quantization_config");
  if (found == r.json().end() || found->is_null()) return;
  if (!found->is_object() || !found->contains("quant_method") || (*found)["quant_method"] != "fp8" ||
      !found->contains("weight_block_size")) {
    return r.fail("quantization_config: only fp8 with weight_block_size is supported, found " + found->dump());
  }
  if ((*found)["weight_block_size"] != Json::array({128, 128})) {
    r.fail("quantization_config.weight_block_size: expected [128, 128], found " + (*found)["weight_block_size"].dump());
  }
  c.f8_activations = found->value("activation_scheme", Json()) == "dynamic";
}

void read_common(Reader& r, Config& c) {
  c.vocab_size = r.positive("vocab_size");
  c.hidden = r.positive("hidden_size");
  c.layers = r.positive("num_hidden_layers", 10000);
  c.heads = r.positive("num_attention_heads");
  c.inter = r.count("intermediate_size", 0);
  c.rms_eps = static_cast<float>(r.number("rms_norm_eps", 1e-6, 0, 1));
  c.max_positions = r.positive("max_position_embeddings");
  c.tied_embeddings = r.flag("tie_word_embeddings", false);
  if (r.text("hidden_act", "silu") != "silu") r.fail("hidden_act: only silu is supported");
  if (r.flag("attention_bias", false)) r.fail("attention_bias: true is not supported");
  const auto eos = r.json().find("eos_token_id");
  if (eos != r.json().end() && eos->is_number_integer()) c.eos_ids = {eos->get<std::int32_t>()};
  if (eos != r.json().end() && eos->is_array()) {
    for (const auto& id : *eos) {
      if (id.is_number_integer()) c.eos_ids.push_back(id.get<std::int32_t>());
    }
  }
  read_spans(r, c);
  read_rotation(r, c);
  read_quantization(r, c);
}

void read_deepseek(Reader& r, Config& c) {
  const bool v3 = c.architecture == "DeepseekV3ForCausalLM";
  c.q_lora = r.count("q_lora_rank", 0);
  c.kv_lora = r.positive("kv_lora_rank");
  c.nope_dim = r.positive("qk_nope_head_dim");
  c.rope_dim = r.positive("qk_rope_head_dim");
  c.v_dim = r.positive("v_head_dim");
  c.kv_heads = c.heads;
  c.mtp_layers = r.count("num_nextn_predict_layers", 0);
  auto& m = c.moe;
  m.experts = r.count("n_routed_experts", 0);
  if (m.experts == 0) return;
  m.shared_experts = r.count("n_shared_experts", 0);
  m.top_k = r.positive("num_experts_per_tok");
  m.inter = r.positive("moe_intermediate_size");
  m.first_dense = r.count("first_k_dense_replace", 0);
  m.step = std::max(1, r.count("moe_layer_freq", 1));
  const std::string scoring = r.text("scoring_func", v3 ? "sigmoid" : "softmax");
  const std::string method = r.text("topk_method", v3 ? "noaux_tc" : "greedy");
  if (scoring != "sigmoid" && scoring != "softmax") r.fail("scoring_func: '" + scoring + "' is not supported");
  if (method != "greedy" && method != "group_limited_greedy" && method != "noaux_tc") {
    r.fail("topk_method: '" + method + "' is not supported");
  }
  m.has_bias = method == "noaux_tc";
  m.routing.scoring = scoring == "sigmoid" ? ops::Scoring::kSigmoid : ops::Scoring::kSoftmax;
  m.routing.group_score = v3 ? ops::GroupScore::kSumOfTopTwo : ops::GroupScore::kMax;
  m.routing.groups = method == "greedy" ? 1 : std::max(1, r.count("n_group", 1));
  m.routing.topk_groups = method == "greedy" ? 1 : std::max(1, r.count("topk_group", 1));
  m.routing.normalise = v3 && r.flag("norm_topk_prob", true);
  m.routing.scale = static_cast<float>(r.number("routed_scaling_factor", 1, 0, 1e6));
}

void read_qwen3(Reader& r, Config& c) {
  c.kv_heads = r.count("num_key_value_heads", c.heads);
  c.head_dim = r.count("head_dim", c.heads > 0 ? c.hidden / c.heads : 0);
  if (c.kv_heads <= 0 || c.heads % c.kv_heads != 0) r.fail("num_key_value_heads must divide num_attention_heads");
  if (c.head_dim <= 0 || c.head_dim % 2 != 0) r.fail("head_dim must be even and positive");
  if (c.architecture != "Qwen3MoeForCausalLM") return;
  auto& m = c.moe;
  m.experts = r.positive("num_experts");
  m.top_k = r.positive("num_experts_per_tok");
  m.inter = r.positive("moe_intermediate_size");
  m.step = std::max(1, r.count("decoder_sparse_step", 1));
  const auto dense = r.json().find("mlp_only_layers");
  if (dense != r.json().end() && dense->is_array()) {
    for (const auto& layer : *dense) {
      if (layer.is_number_integer()) m.dense_layers.push_back(layer.get<int>());
    }
  }
  m.routing.normalise = r.flag("norm_topk_prob", false);
}

void check(Reader& r, Config& c) {
  auto& m = c.moe;
  if (m.experts > 0) {
    m.routing.experts = m.experts;
    m.routing.top_k = m.top_k;
    if (m.top_k > m.experts) r.fail("num_experts_per_tok is larger than the number of experts");
    if (m.experts % m.routing.groups != 0) r.fail("n_group must divide the number of experts");
    if (m.routing.topk_groups > m.routing.groups) r.fail("topk_group is larger than n_group");
    if (m.top_k > m.experts / m.routing.groups * m.routing.topk_groups) r.fail("topk_group groups hold too few experts");
  }
  bool dense = false;
  for (int layer = 0; layer < c.layers; ++layer) dense |= !c.is_moe(layer);
  if (dense && c.inter <= 0) r.fail("intermediate_size is missing");
  if (c.kv_lora > 0 && (c.sliding_window > 0 || c.attention_chunk > 0)) r.fail("layer_types: latent attention has full_attention only");
  if (c.kv_lora > 0 && c.rope_dim % 2 != 0) r.fail("qk_rope_head_dim must be even");
}

}  // namespace

bool Config::is_moe(int layer) const {
  if (moe.experts == 0 || layer < moe.first_dense) return false;
  if (std::find(moe.dense_layers.begin(), moe.dense_layers.end(), layer) != moe.dense_layers.end()) return false;
  return kv_lora > 0 ? layer % moe.step == 0 : (layer + 1) % moe.step == 0;
}

LayerSpan Config::span_of(int layer) const {
  const auto at = static_cast<std::size_t>(layer);
  return at < spans.size() ? spans[at] : LayerSpan::kFull;
}

Result<Config> parse_config(const std::string& text, const std::string& path) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return invalid_argument(path + " is not a JSON object");
  const auto names = json.find("architectures");
  if (names == json.end() || !names->is_array() || names->empty() || !(*names)[0].is_string()) {
    return invalid_argument(path + ": architectures is missing");
  }
  Config c;
  c.architecture = (*names)[0].get<std::string>();
  Reader r(json, path);
  read_common(r, c);
  if (c.architecture.starts_with("Deepseek")) read_deepseek(r, c);
  if (c.architecture.starts_with("Qwen3")) read_qwen3(r, c);
  if (!r.error()) check(r, c);
  if (r.error()) return *r.error();
  return c;
}

}  // namespace braid::model
