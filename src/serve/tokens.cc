// SPDX-License-Identifier: Apache-2.0
// /tokenize, /detokenize and /v1/models.
#include "protocol/json_text.h"
#include "serve/context.h"
#include "serve/logprobs_json.h"

namespace braid::serve {

void handle_tokenize(Context& context, net::Request&& request, Writer writer) {
  auto parsed = protocol::parse_tokenize(request.body);
  if (!parsed.ok()) return send_error(writer, parsed.error());
  if (parsed->chat) {
    auto text = render_chat(context, *parsed->chat);
    if (!text.ok()) return send_error(writer, text.error());
    parsed->prompt.text = std::move(*text);
  }
  const auto tokens = tokens_of(context, parsed->prompt, parsed->add_special_tokens);
  if (!tokens.ok()) return send_error(writer, tokens.error());
  std::string texts = "null";
  if (parsed->return_token_strs) {
    texts = "[";
    for (std::size_t i = 0; i < tokens->size(); ++i) {
      if (i) texts += ',';
      protocol::append_json_string(texts, context.parts.tokenizer->token((*tokens)[i]));
    }
    texts += "]";
  }
  send_json(writer, 200, "{\"count\":" + std::to_string(tokens->size()) + ",\"max_model_len\":" +
                             std::to_string(context.parts.engine->max_model_len()) + ",\"tokens\":" + id_list(*tokens) +
                             ",\"token_strs\":" + texts + "}");
}

void handle_detokenize(Context& context, net::Request&& request, Writer writer) {
  const auto tokens = protocol::parse_detokenize(request.body);
  if (!tokens.ok()) return send_error(writer, tokens.error());
  if (!context.parts.tokenizer) return send_error(writer, invalid_argument("this server has no tokenizer"));
  std::string body = "{\"prompt\":";
  protocol::append_json_string(body, context.parts.tokenizer->decode(*tokens, false));
  send_json(writer, 200, body + "}");
}

void handle_models(Context& context, net::Request&&, Writer writer) {
  std::string body = "{\"object\":\"list\",\"data\":[";
  for (const auto& name : context.model_names) {
    body += &name == &context.model_names.front() ? "{\"id\":" : ",{\"id\":";
    protocol::append_json_string(body, name);
    body += ",\"object\":\"model\",\"created\":" + std::to_string(context.started) + ",\"owned_by\":\"braid\",\"root\":";
    protocol::append_json_string(body, context.parts.model_path);
    body += ",\"parent\":null,\"max_model_len\":" + std::to_string(context.parts.engine->max_model_len()) + ",\"permission\":[]}";
  }
  send_json(writer, 200, body + "]}");
}

}  // namespace braid::serve
