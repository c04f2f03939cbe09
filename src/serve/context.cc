// SPDX-License-Identifier: Apache-2.0
#include "serve/context.h"

#include <algorithm>
#include <chrono>

namespace braid::serve {

std::string Context::new_id(const std::string& prefix) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::uint64_t z = next_id.fetch_add(1) * 0x9E3779B97F4A7C15u + static_cast<std::uint64_t>(started);
  std::string id = prefix;
  for (int word = 0; word < 2; ++word) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z ^= z >> 27;
    for (int i = 0; i < 16; ++i) id += kHex[z >> (4 * i) & 15];
  }
  return id;
}

std::int64_t Context::now_seconds() const {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Status Context::check_model(const std::string& name) const {
  if (name.empty() || std::find(model_names.begin(), model_names.end(), name) != model_names.end()) return {};
  return Error{ErrorCode::kNotFound, "The model `" + name + "` does not exist; served here: " + model_names.front(), "model"};
}

Status Context::check(const protocol::CommonRequest& request) const {
  RETURN_IF_ERROR(check_model(request.model));
  if (request.unsupported.empty()) return {};
  return invalid_argument(request.unsupported + " is not supported; leave it out", request.unsupported);
}

void send_json(const Writer& writer, int status, std::string body) {
  net::Response response;
  response.status = status;
  response.body = std::move(body);
  writer->send(std::move(response));
}

void send_error(const Writer& writer, const Error& error) { send_error(writer, error, protocol::status_of(error.code)); }

void send_error(const Writer& writer, const Error& error, int status) {
  net::Response response;
  response.status = status;
  response.body = writer->error_body(error, status);
  if (response.status == 429 || response.status == 503) response.headers.push_back({"Retry-After", "1"});
  writer->send(std::move(response));
}

void send_text_queue_full(const Writer& writer) {
  send_error(writer, {ErrorCode::kResourceExhausted, "too many prompts wait to be tokenised; try again later", {}});
}

Result<std::vector<std::int32_t>> tokens_of(const Context& context, const protocol::Prompt& prompt,
                                            const protocol::CommonRequest& request) {
  if (!prompt.is_ids && !context.parts.tokenizer) {
    return invalid_argument("this server has no tokenizer (--skip-tokenizer-init); send token ids", "prompt");
  }
  auto tokens = prompt.is_ids ? prompt.ids : context.parts.tokenizer->encode(prompt.text, request.add_special_tokens);
  const int truncate = request.truncate_prompt_tokens.value_or(INT32_MAX);
  const int longest = std::max(1, context.parts.engine->max_model_len() - request.max_tokens.value_or(1));
  const auto most = static_cast<std::size_t>(truncate < 0 ? longest : truncate);
  if (tokens.size() <= most) return tokens;
  const auto drop = static_cast<std::ptrdiff_t>(tokens.size() - most);
  if (request.truncate_left) tokens.erase(tokens.begin(), tokens.begin() + drop);
  else tokens.resize(most);
  return tokens;
}

Result<std::string> render_chat(const Context& context, const protocol::ChatRequest& request) {
  auto chat = context.parts.chat_template;
  if (!request.chat_template.empty()) {
    return invalid_argument("templates in requests are not trusted; use --chat-template", "chat_template");
  }
  if (!chat) return invalid_argument("this model has no chat template; name one with --chat-template", "messages");
  text::RenderInput input;
  input.messages = request.messages;
  input.tools = request.tools;
  input.documents = request.documents;
  input.kwargs = request.template_kwargs;
  input.add_generation_prompt = request.add_generation_prompt && !request.continue_final_message;
  if (request.continue_final_message) input.kwargs = input.kwargs == "{}" ? "{\"continue_final_message\":true}" : "{\"continue_final_message\":true," + input.kwargs.substr(1);
  return chat->render(input);
}

}  // namespace braid::serve
