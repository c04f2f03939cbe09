// SPDX-License-Identifier: Apache-2.0
// Hugging Face chat templates (Jinja), rendered as transformers' apply_chat_template does.
// Values are JSON texts. Thread safety: render may be called from any thread at once.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"

namespace braid::text {

// What a template loops over: message contents as strings, or as lists of parts.
enum class ContentFormat { kString, kOpenAi };

struct RenderInput {
  std::string messages = "[]";       // JSON array
  std::string tools = "null";        // JSON array or null
  std::string documents = "null";    // JSON array or null
  std::string kwargs = "{}";         // chat_template_kwargs; continue_final_message is honoured
  std::string variables = "{}";      // bos_token, eos_token, ...; absent means undefined
  bool add_generation_prompt = true; // kwargs may override
  std::string now;                   // what strftime_now sees, "2026-01-31T12:00:00"; empty: the clock
};

class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  virtual Result<std::string> render(const RenderInput& input) const = 0;
  // The same from one JSON object with RenderInput's members; what is absent is none or false.
  virtual Result<std::string> render_json(const std::string& input) const = 0;
  virtual ContentFormat content_format() const = 0;
  virtual const std::string& source() const = 0;
  // Special tokens of tokenizer_config.json as a JSON object; RenderInput::variables overrides.
  virtual const std::string& default_variables() const = 0;
};

// From template text, or from a model folder (chat_template.jinja, else tokenizer_config.json).
Result<std::shared_ptr<const ChatTemplate>> compile_template(const std::string& source,
                                                             const std::string& variables = "{}");
Result<std::shared_ptr<const ChatTemplate>> load_chat_template(const std::string& folder);

}  // namespace braid::text
