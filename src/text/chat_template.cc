// SPDX-License-Identifier: Apache-2.0
#include "text/chat_template.h"

#include <nlohmann/json.hpp>

#include "text/core.h"
#include "text/files.h"

namespace braid::text {
namespace {

using Json = nlohmann::ordered_json;

struct Freer {
  void operator()(BraidTemplate* handle) const { braid_template_free(handle); }
};

class CoreTemplate final : public ChatTemplate {
 public:
  CoreTemplate(BraidTemplate* handle, std::string source, std::string variables)
      : handle_(handle), source_(std::move(source)), variables_(std::move(variables)) {}

  Result<std::string> render(const RenderInput& input) const override {
    return render_json("{\"messages\":" + input.messages + ",\"tools\":" + input.tools +
                       ",\"documents\":" + input.documents + ",\"kwargs\":" + input.kwargs +
                       ",\"variables\":" + input.variables + ",\"now\":" +
                       (input.now.empty() ? "null" : Json(input.now).dump()) +
                       ",\"add_generation_prompt\":" + (input.add_generation_prompt ? "true" : "false") + "}");
  }
  Result<std::string> render_json(const std::string& input) const override {
    BraidBytes out{};
    const int failed = braid_template_render(handle_.get(), as_text(input), &out);
    std::string text = take(out);
    if (failed) return invalid_argument("chat template: " + text, "messages");
    return text;
  }

  ContentFormat content_format() const override {
    return braid_template_loops_over_content(handle_.get()) ? ContentFormat::kOpenAi : ContentFormat::kString;
  }
  const std::string& source() const override { return source_; }
  const std::string& default_variables() const override { return variables_; }

 private:
  std::unique_ptr<BraidTemplate, Freer> handle_;
  std::string source_;
  std::string variables_;
};

// tokenizer_config.json writes a token as text or as {"content": text, ...}.
Json special_tokens(const Json& config) {
  Json tokens = Json::object();
  for (const auto& [name, value] : config.items()) {
    if (!name.ends_with("_token")) continue;
    if (value.is_string()) tokens[name] = value;
    if (value.is_object() && value.contains("content")) tokens[name] = value["content"];
  }
  return tokens;
}

// The template of tokenizer_config.json: text, or a list of named ones ("default" counts).
std::string template_text(const Json& config) {
  const auto found = config.find("chat_template");
  if (found == config.end()) return {};
  if (found->is_string()) return found->get<std::string>();
  std::string first;
  if (!found->is_array()) return first;
  for (const auto& named : *found) {
    if (!named.is_object() || !named.contains("template") || !named["template"].is_string()) continue;
    if (named.value("name", "") == "default") return named["template"].get<std::string>();
    if (first.empty()) first = named["template"].get<std::string>();
  }
  return first;
}

}  // namespace

Result<std::shared_ptr<const ChatTemplate>> compile_template(const std::string& source,
                                                             const std::string& variables) {
  BraidTemplate* handle = nullptr;
  BraidBytes out{};
  const int failed = braid_template_new(as_text(source), as_text(variables), &handle, &out);
  const std::string message = take(out);
  if (failed) return invalid_argument("chat template does not compile: " + message, "chat_template");
  return std::shared_ptr<const ChatTemplate>(std::make_shared<CoreTemplate>(handle, source, variables));
}

Result<std::shared_ptr<const ChatTemplate>> load_chat_template(const std::string& folder) {
  Json config = Json::object();
  const std::string config_path = folder + "/tokenizer_config.json";
  if (exists(config_path)) {
    ASSIGN_OR_RETURN(const std::string text, read_file(config_path));
    config = Json::parse(text, nullptr, false);
    if (!config.is_object()) return invalid_argument(config_path + " is not a JSON object");
  }
  std::string source = template_text(config);
  if (exists(folder + "/chat_template.jinja")) {
    ASSIGN_OR_RETURN(source, read_file(folder + "/chat_template.jinja"));
  }
  if (source.empty()) {
    return Error{ErrorCode::kNotFound,
                 folder + " has no chat template (neither chat_template.jinja nor chat_template in "
                          "tokenizer_config.json); name one with --chat-template", "chat_template"};
  }
  auto compiled = compile_template(source, special_tokens(config).dump());
  if (!compiled.ok()) return compiled.error().within(folder);
  return compiled;
}

}  // namespace braid::text
