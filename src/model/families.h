// SPDX-License-Identifier: Apache-2.0
// The list of model families, and what each file of the list provides.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "model/build.h"
#include "model/config_reader.h"

namespace braid::model {

struct Family {
  std::string_view architecture;  // as in config.json
  // The keys of its own; those of all families have been read.
  void (*read)(Reader& reader, Config& config);
  // Builds from a checkpoint whose config.json was parsed; the caller asks builder.error().
  std::unique_ptr<Model> (*build)(Builder& builder, const Config& config);
};

std::span<const Family> families();
// An error names those there are; `path` is of the config.json that wants it.
Result<const Family*> find_family(std::string_view architecture, const std::string& path);

// deepseek.cc
void read_deepseek_v2(Reader& reader, Config& config);
void read_deepseek_v3(Reader& reader, Config& config);
std::unique_ptr<Model> build_deepseek(Builder& builder, const Config& config);

// All families with grouped-query attention (attention_gqa.h) are built alike.
std::unique_ptr<Model> build_grouped_query(Builder& builder, const Config& config);

void read_glm4_moe(Reader& reader, Config& config);   // glm4.cc
void read_gpt_oss(Reader& reader, Config& config);    // gpt_oss.cc
void read_llama(Reader& reader, Config& config);      // llama.cc
void read_llama4(Reader& reader, Config& config);     // llama4.cc
void read_mixtral(Reader& reader, Config& config);    // llama.cc
void read_qwen2_moe(Reader& reader, Config& config);  // qwen.cc
void read_qwen3(Reader& reader, Config& config);      // qwen.cc
void read_qwen3_moe(Reader& reader, Config& config);  // qwen.cc

}  // namespace braid::model
