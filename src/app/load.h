// SPDX-License-Identifier: Apache-2.0
// From settings to a model in memory and what surrounds it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "app/devices.h"
#include "app/settings.h"
#include "engine/engine.h"
#include "model/plan.h"
#include "protocol/request.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"
#include "weights/checkpoint.h"

namespace braid::app {

struct LoadedModel {
  std::unique_ptr<weights::Checkpoint> checkpoint;  // these two outlive the model
  std::unique_ptr<Stream> stream;
  std::unique_ptr<model::Model> model;
  double seconds = 0;
};

// Asked before anything of a model is put where kernels have memory of their own.
using Consent = std::function<Status(const model::Footprint& footprint, const Stream& stream)>;

// `options.max_*` may be 0: then the limits of the settings and config.json are taken.
// `device_index`: which of several GPUs.
Result<LoadedModel> load_model(const ModelSettings& settings, model::Options options, bool show_progress, int device_index = 0, const Consent& consent = {});

// The same without reading its weights (model/plan.h).
Result<LoadedModel> plan_model(const ModelSettings& settings);

// Null with --skip-tokenizer-init.
Result<std::shared_ptr<const text::Tokenizer>> load_tokenizer(const ModelSettings& settings);

// What an engine knows of the model's tokens; `tokenizer` may be null.
engine::Vocabulary load_vocabulary(const ModelSettings& settings, const model::Config& config,
                                   const std::shared_ptr<const text::Tokenizer>& tokenizer);

// All that a server needs of a folder beside the model.
struct LoadedText {
  std::shared_ptr<const text::Tokenizer> tokenizer;
  std::shared_ptr<const text::ChatTemplate> chat_template;
  protocol::RequestDefaults defaults;
  engine::Vocabulary vocabulary;
};

Result<LoadedText> load_text(const ModelSettings& settings, const model::Config& config);

// The folder's config.json.
Result<model::Config> model_config(const std::string& folder);

// The longest sequence to serve: the setting, or the model's limit.
Result<int> model_length(const ModelSettings& settings, int setting, const model::Config& config);

// One line: the device and its features.
void print_features(const Capabilities& caps);

}  // namespace braid::app
