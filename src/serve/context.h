// SPDX-License-Identifier: Apache-2.0
// What the handlers share. Constant after start, or says its own thread rules.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "net/http_server.h"
#include "parse/parser.h"
#include "protocol/error_json.h"
#include "protocol/request.h"
#include "serve/cors.h"
#include "serve/in_flight.h"
#include "serve/mailbox.h"
#include "serve/reply.h"
#include "serve/request_log.h"
#include "serve/response_store.h"
#include "serve/server.h"
#include "serve/text_queue.h"
#include "serve/waiting_answers.h"

namespace braid::serve {

using Writer = std::shared_ptr<Reply>;

class Generation;

struct Context {
  Parts parts;
  Settings settings;
  std::vector<std::string> model_names;
  // Set before the first request is handled:
  net::HttpServer* http = nullptr;
  TextQueue* text = nullptr;
  std::shared_ptr<Mailbox> mailbox;
  const std::shared_ptr<WaitingAnswers> waiting = std::make_shared<WaitingAnswers>();
  std::atomic<bool> draining{false};
  InFlight in_flight;
  RequestLog requests;
  std::unique_ptr<ResponseStore> responses;
  std::unordered_map<std::string, std::weak_ptr<Generation>> background;  // responses that nobody waits for, by id; on the I/O thread
  Cors cors;
  std::atomic<std::uint64_t> next_id{1};
  std::int64_t started = 0;         // Unix seconds
  bool join_parts = true;           // message contents as one text
  parse::ParserNames parsers;       // how the model writes calls and reasoning
  bool reads_calls = false;         // calls are looked for where a request leaves the choice to the model

  std::string new_id(const std::string& prefix);
  std::int64_t now_seconds() const;
  // An error when the request names a model that is not served.
  Status check_model(const std::string& name) const;
  // The same, or asks for what this server does not have.
  Status check(const protocol::CommonRequest& request) const;
};

void send_json(const Writer& writer, int status, std::string body);
void send_error(const Writer& writer, const Error& error);
void send_error(const Writer& writer, const Error& error, int status);
void send_text_queue_full(const Writer& writer);

// Prompt tokens of a request, truncated as it asks; errors when there is no tokenizer or template.
Result<std::vector<std::int32_t>> tokens_of(const Context& context, const protocol::Prompt& prompt,
                                            const protocol::CommonRequest& request);
Result<std::string> render_chat(const Context& context, const protocol::ChatRequest& request);

// Handlers. Each answers its request, now or later; those that read a body run on the text queue's
// thread if it is long, and on the I/O thread if not.
void handle_chat(Context& context, net::Request&& request, Writer writer);
void handle_completion(Context& context, net::Request&& request, Writer writer);
void handle_generate(Context& context, net::Request&& request, Writer writer);
void handle_chat_render(Context& context, net::Request&& request, Writer writer);
void handle_completion_render(Context& context, net::Request&& request, Writer writer);
void handle_responses(Context& context, net::Request&& request, Writer writer);
void handle_response(Context& context, net::Request&& request, Writer writer);
void handle_response_delete(Context& context, net::Request&& request, Writer writer);
void handle_response_cancel(Context& context, net::Request&& request, Writer writer);
void handle_messages(Context& context, net::Request&& request, Writer writer);
void handle_count_tokens(Context& context, net::Request&& request, Writer writer);
void handle_tokenize(Context& context, net::Request&& request, Writer writer);
void handle_detokenize(Context& context, net::Request&& request, Writer writer);
void handle_models(Context& context, net::Request&& request, Writer writer);
void handle_scale(Context& context, net::Request&& request, Writer writer);
void handle_is_scaling(Context& context, net::Request&& request, Writer writer);
// {"ranks": 4, "missing": [2], "scaling": false}
std::string ranks_json(const DeploymentState& state);

}  // namespace braid::serve
