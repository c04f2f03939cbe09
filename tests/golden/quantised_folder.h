// SPDX-License-Identifier: Apache-2.0
// Small models quantised in the ways that others ship, and the same numbers written out in float32.
#pragma once

#include <algorithm>
#include <cmath>

#include "tensor/dtype.h"
#include "tests/golden/model_folder.h"

namespace braid {

struct Numbers {
  std::int64_t rows, cols;
  std::vector<float> values;
};

inline Numbers numbers_of(const Tensor& t) {
  Numbers m{t.shape[0], t.shape[1], {}};
  const auto* data = reinterpret_cast<const std::uint16_t*>(t.bytes.data());
  for (std::size_t i = 0; i < t.bytes.size() / 2; ++i) m.values.push_back(bf16_to_f32(data[i]));
  return m;
}

template <class T>
Tensor tensor(const char* dtype, std::vector<std::int64_t> shape, const std::vector<T>& values) {
  return {dtype, std::move(shape), std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T))};
}

inline float largest(const Numbers& m, std::int64_t first, std::int64_t count) {
  float most = 1e-6f;
  for (std::int64_t i = first; i < first + count; ++i) most = std::max(most, std::fabs(m.values[static_cast<std::size_t>(i)]));
  return most;
}

// Replaces `m` by what the codes stand for.
inline void store_fp8(Tensors& to, const std::string& name, Numbers& m, std::int64_t per_scale, const std::vector<std::int64_t>& scales_shape) {
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

inline void store_int4(Tensors& to, const std::string& name, Numbers& m) {
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
  void (*store)(Tensors&, const std::string&, Numbers&);
};

inline constexpr Scheme kSchemes[] = {
    {"fp8_per_tensor", R"({"quant_method": "fp8", "activation_scheme": "static"})", "_proj.weight",
     [](Tensors& to, const std::string& name, Numbers& m) {
       store_fp8(to, name, m, m.rows * m.cols, {});
       to[name.substr(0, name.rfind('.')) + ".input_scale"] = tensor("F32", {}, std::vector<float>{1});
     }},
    {"fp8_per_channel",
     R"({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"type": "float", "num_bits": 8, "strategy": "channel"}}}})",
     "_proj.weight", [](Tensors& to, const std::string& name, Numbers& m) { store_fp8(to, name, m, m.cols, {m.rows, 1}); }},
    {"int4_groups_of_32",
     R"({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"type": "int", "num_bits": 4, "strategy": "group", "group_size": 32, "symmetric": true}}}})",
     ".experts.", store_int4}};

// A copy of the small model at `from`, and what its numbers are.
struct QuantisedFolders {
  Folder stored, widened;
  int count = 0;  // of matrices

  QuantisedFolders(const fs::path& from, const Scheme& scheme) : stored(from, "quantised"), widened(from, "widened") {
    for (const auto& [name, original] : Tensors(stored.tensors)) {
      if (original.shape.size() != 2 || name.find(scheme.which) == std::string::npos) continue;
      Numbers m = numbers_of(original);
      scheme.store(stored.tensors, name, m);
      widened.tensors[name] = tensor("F32", original.shape, m.values);
      ++count;
    }
    stored.config["quantization_config"] = Json::parse(scheme.config);
    stored.write_config();
    stored.write_tensors();
    widened.write_tensors();
  }
};

}  // namespace braid
