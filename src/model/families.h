// SPDX-License-Identifier: Apache-2.0
// The list of model families, and what each file of the list provides.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "model/build.h"

namespace braid::model {

// Builds from a checkpoint whose config.json was parsed; the caller asks builder.error().
using BuildFamily = std::unique_ptr<Model> (*)(Builder& builder, const Config& config);

struct Family {
  std::string_view architecture;  // as in config.json
  BuildFamily build;
};

std::span<const Family> families();

std::unique_ptr<Model> build_deepseek(Builder& builder, const Config& config);
std::unique_ptr<Model> build_qwen3(Builder& builder, const Config& config);

}  // namespace braid::model
