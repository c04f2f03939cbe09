// SPDX-License-Identifier: Apache-2.0
// The OpenAI-compatible HTTP face of an engine. Thread safety: every method from any thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "protocol/request.h"
#include "serve/deployment.h"
#include "serve/settings.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"
#include "tracing/tracer.h"

namespace braid::serve {

// What a server is made of. `engine` and `deployment` outlive it.
struct Parts {
  engine::Engine* engine = nullptr;
  Deployment* deployment = nullptr;  // null: the engine computes in this process
  std::shared_ptr<const text::Tokenizer> tokenizer;         // null: token ids only
  std::shared_ptr<const text::ChatTemplate> chat_template;  // null: chat is refused
  std::string model_path;
  protocol::RequestDefaults defaults;  // generation_config.json
  std::vector<std::int32_t> eos_ids;
  std::function<std::string()> metrics_text;
  std::function<std::string()> timeline;  // of the newest steps, as a file of base/timeline.h; null: there is none
  // A bug report around what the dashboard shows, without secrets; null: there is none.
  std::function<std::string(const std::string& dashboard, const std::string& metrics)> report;
  tracing::Tracer* tracer = nullptr;  // null: no traces
};

class Server {
 public:
  static Result<std::unique_ptr<Server>> start(Parts parts, const Settings& settings);
  virtual ~Server() = default;

  virtual int port() const = 0;
  // Refuses new requests, lets running ones end until `timeout` passes, then closes. Must have
  // returned before the server is destroyed while its engine still runs.
  virtual void drain(Duration timeout) = 0;
};

}  // namespace braid::serve
