// SPDX-License-Identifier: Apache-2.0
// All settings of `braid serve`: the model's own here, the others from their layers.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/describe.h"
#include "engine/settings.h"
#include "serve/settings.h"

namespace braid::app {

struct ModelSettings {
  std::string model;
  std::optional<std::string> tokenizer;
  std::string dtype = "auto";
  std::string load_format = "auto";
  bool skip_tokenizer_init = false;
  std::string generation_config = "auto";
  config::JsonObject override_generation_config;
  std::string cpu_activations = "bf16";
  int cpu_threads = 0;
  std::vector<std::string> kernel;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("model", self.model, {.help = "Hugging Face model folder on disk"});
    v.field("tokenizer", self.tokenizer, {.help = "Folder of tokenizer.json and tokenizer_config.json; unset: the model's"});
    v.field("dtype", self.dtype,
            {.help = "Arithmetic: bfloat16 (auto), or float32 for everything, weights too",
             .choices = {"auto", "bfloat16", "float32"}});
    v.field("load-format", self.load_format,
            {.help = "dummy: random weights made from config.json alone", .choices = {"auto", "safetensors", "dummy"}});
    v.field("skip-tokenizer-init", self.skip_tokenizer_init, {.help = "No tokenizer: requests bring token ids"});
    v.field("generation-config", self.generation_config,
            {.help = "auto: sampling defaults of generation_config.json; vllm: none", .choices = {"auto", "vllm"}});
    v.field("override-generation-config", self.override_generation_config,
            {.help = "Sampling defaults on top of those, as a JSON object: {\"temperature\": 0.5}"});
    v.field("cpu-activations", self.cpu_activations,
            {.help = "int8: activations and weights requantised, faster prefill, other results", .choices = {"bf16", "int8"}});
    v.field("cpu-threads", self.cpu_threads, {.help = "Worker threads; 0: one per usable processor", .min = 0, .max = 1024});
    v.field("kernel", self.kernel, {.help = "Kernels to force: a tier (avx2), or one for an operation (linear=avx2)"});
  }
};

struct ServeSettings {
  ModelSettings model;
  engine::Settings engine;
  serve::Settings serve;
  std::string log_level = "info";
  std::string log_format = "human";

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.group("Model", self.model);
    v.group("Engine", self.engine);
    v.group("HTTP", self.serve);
    v.field("log-level", self.log_level, {.help = "Least level logged", .choices = {"debug", "info", "warning", "error"}});
    v.field("log-format", self.log_format, {.help = "One line an event, for people or machines", .choices = {"human", "json"}});
  }
};

}  // namespace braid::app
