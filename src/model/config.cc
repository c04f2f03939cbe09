// SPDX-License-Identifier: Apache-2.0
#include "model/config.h"

#include <algorithm>

#include "model/config_reader.h"
#include "model/families.h"

namespace braid::model {
namespace {

using Json = nlohmann::json;

void read_linear(Reader& s, Config& c) {
  c.rope_scaling.kind = RopeScaling::Kind::kLinear;
  c.rope_scaling.factor = s.number("factor", std::nullopt, 1, 1e6);
}

void read_stretch(Reader& s, Config& c) {
  c.rope_scaling.factor = s.number("factor", std::nullopt, 1, 1e6);
  c.rope_scaling.original_positions =
      static_cast<std::int64_t>(s.number("original_max_position_embeddings", std::nullopt, 1, 1e9));
}

void read_llama3(Reader& s, Config& c) {
  read_stretch(s, c);
  c.rope_scaling.kind = RopeScaling::Kind::kLlama3;
  c.rope_scaling.low_freq_factor = s.number("low_freq_factor", std::nullopt, 1e-9, 1e9);
  c.rope_scaling.high_freq_factor = s.number("high_freq_factor", std::nullopt, c.rope_scaling.low_freq_factor, 1e9);
}

void read_yarn(Reader& s, Config& c) {
  read_stretch(s, c);
  c.rope_scaling.kind = RopeScaling::Kind::kYarn;
  c.rope_scaling.beta_fast = s.number("beta_fast", 32, 1e-9, 1e9);
  c.rope_scaling.beta_slow = s.number("beta_slow", 1, 1e-9, 1e9);
  c.rope_scaling.mscale = s.number("mscale", 1, 0, 1e6);
  c.rope_scaling.mscale_all_dim = s.number("mscale_all_dim", 0, 0, 1e6);
  c.rope_scaling.attention_factor = s.number("attention_factor", 0, 0, 1e6);
  c.rope_scaling.truncate = s.flag("truncate", true);
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
  std::optional<double> unsaid;
  if (c.architecture == "LlamaForCausalLM") unsaid = 10000;  // Llama 2 leaves it out
  c.rope_theta = (inside ? s : r).number("rope_theta", unsaid, 1, 1e12);
  c.rotary_share = s.number("partial_rotary_factor", r.number("partial_rotary_factor", 0, 0, 1), 0, 1);
  const std::string type = s.text("rope_type", s.text("type", "default"));
  if (type == "yarn") read_yarn(s, c);
  else if (type == "llama3") read_llama3(s, c);
  else if (type == "linear") read_linear(s, c);
  else if (type != "default") r.fail(key + ".rope_type: '" + type + "' is not supported (linear, yarn and llama3 are)");
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

// Groups of weights that "compressed-tensors" stores alike. Which tensors are, the checkpoint itself says.
void read_compressed(Reader& r, const Json& quantization, Config& c) {
  const Json groups = quantization.value("config_groups", Json::object());
  for (const auto& [name, group] : groups.items()) {
    const Json weights = group.is_object() ? group.value("weights", Json()) : Json();
    const auto is = [&](const char* key, const Json& value) { return weights.is_object() && weights.value(key, Json()) == value; };
    const bool fp8 = is("type", "float") && is("num_bits", 8);
    const bool int4 = is("type", "int") && is("num_bits", 4) && is("strategy", "group") && is("group_size", 32) && is("symmetric", true);
    if (!fp8 && !int4) {
      r.fail("quantization_config.config_groups." + name + ".weights: expected floats of 8 bits, or symmetric integers of 4 bits in groups of 32, found " + weights.dump());
    }
    c.quantization = fp8 ? "FP8" : "INT4 in groups of 32";
  }
}

// `json` is the whole of config.json.
void read_quantization(Reader& r, const Json& json, Config& c) {
  const auto found = json.find("quantization_config");
  if (found == json.end() || found->is_null()) return;
  const Json method = found->is_object() ? found->value("quant_method", Json()) : Json();
  if (method == "compressed-tensors") return read_compressed(r, *found, c);
  if (method != "mxfp4" && method != "fp8" && method != "fbgemm_fp8") {
    return r.fail("quantization_config.quant_method: expected fp8, fbgemm_fp8, compressed-tensors or mxfp4, found " + method.dump());
  }
  c.quantization = method == "mxfp4" ? "MXFP4" : "FP8";
  const Json block = found->value("weight_block_size", Json());
  if (method != "fp8" || block.is_null()) return;
  if (block != Json::array({128, 128})) r.fail("quantization_config.weight_block_size: expected [128, 128], found " + block.dump());
  c.quantization += " in blocks of 128 x 128";
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
  const auto eos = r.json().find("eos_token_id");
  if (eos != r.json().end() && eos->is_number_integer()) c.eos_ids = {eos->get<std::int32_t>()};
  if (eos != r.json().end() && eos->is_array()) {
    for (const auto& id : *eos) {
      if (id.is_number_integer()) c.eos_ids.push_back(id.get<std::int32_t>());
    }
  }
  read_spans(r, c);
  read_rotation(r, c);
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
  if (c.rope_dim % 2 != 0) r.fail("the part of a head that turns must be even, found " + std::to_string(c.rope_dim) + " elements");
  if (c.kv_lora > 0 && (c.sliding_window > 0 || c.attention_chunk > 0)) r.fail("layer_types: latent attention has full_attention only");
}

}  // namespace

bool Config::is_moe(int layer) const {
  if (moe.experts == 0 || layer < moe.first_dense) return false;
  if (std::find(moe.dense_layers.begin(), moe.dense_layers.end(), layer) != moe.dense_layers.end()) return false;
  return kv_lora > 0 ? layer % moe.step == 0 : (layer + 1) % moe.step == 0;
}

bool Config::turns(int layer) const {
  const auto at = static_cast<std::size_t>(layer);
  return at >= still_layers.size() || !still_layers[at];
}

std::string Config::layer_name(int layer) const { return names.root + "model.layers." + std::to_string(layer); }

LayerSpan Config::span_of(int layer) const {
  const auto at = static_cast<std::size_t>(layer);
  return at < spans.size() ? spans[at] : LayerSpan::kFull;
}

kv::KeySpan Config::keys_of(int layer) const {
  const LayerSpan span = span_of(layer);
  return {span == LayerSpan::kWindow ? sliding_window : 0, span == LayerSpan::kChunk ? attention_chunk : 0};
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
  ASSIGN_OR_RETURN(const Family* family, find_family(c.architecture, path));
  const auto text_config = json.find("text_config");  // of models that also see
  Reader r(text_config != json.end() && text_config->is_object() ? *text_config : json, path);
  read_common(r, c);
  read_quantization(r, json, c);
  family->read(r, c);
  if (!r.error()) check(r, c);
  if (r.error()) return *r.error();
  return c;
}

}  // namespace braid::model
