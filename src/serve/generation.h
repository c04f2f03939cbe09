// SPDX-License-Identifier: Apache-2.0
// One HTTP request being generated: submits its prompts, turns tokens into text, looks for stop
// strings, and hands pieces to a Format, which writes them as the endpoint wants.
// Thread rules: made and started on any one thread; from then on everything runs on the I/O thread,
// but for grammars, which are compiled on the text queue's thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "serve/context.h"
#include "serve/stop_strings.h"
#include "text/detokenizer.h"

namespace braid::serve {

struct Choice {
  int prompt = 0;
  int index = 0;  // of the response
  std::optional<text::Detokenizer> detokenizer;
  std::optional<StopStrings> stops;
  std::string text;
  std::vector<std::int32_t> tokens;
  std::vector<engine::PositionLogprobs> logprobs;
  std::vector<std::optional<engine::PositionLogprobs>> prompt_logprobs;
  protocol::FinishReason finish = protocol::FinishReason::kNone;
  std::optional<std::int32_t> stop_token;
  Error error;
  bool done() const { return finish != protocol::FinishReason::kNone; }
};

// What a choice gained in one step.
struct Piece {
  std::string text;
  std::vector<std::int32_t> tokens;
  std::vector<engine::PositionLogprobs> logprobs;
};

struct Usage {
  std::int64_t prompt = 0;
  std::int64_t completion = 0;
  std::int64_t cached = 0;
};

class Generation;

// How an endpoint writes its answer. Pieces are never those of a failed choice; they come whenever
// a choice has new text or has ended, and with every token if needs_every_token(). An empty event is
// not sent.
class Format {
 public:
  virtual ~Format() = default;
  virtual std::string id_prefix() const = 0;  // "chatcmpl-"
  virtual std::string stream_start(const Generation& g) = 0;  // events before the first token
  virtual std::string stream_piece(const Generation& g, const Choice& choice, const Piece& piece) = 0;
  virtual std::string whole(const Generation& g) = 0;
  // The end of a stream: after the last piece, or after an error.
  virtual std::string stream_tail(const Generation& g);
  virtual std::string stream_failure(const Generation& g, const Error& error);
  virtual bool needs_every_token(const Generation& g) const;
  // Of a request in the background: what it is answered once it has been submitted. Empty: it is none.
  virtual std::string accepted(const Generation& g) { return {}; }
  // Of one that was accepted: it ended without an answer. Without an error it was cancelled.
  virtual void ended(const Generation& g, const Error* error) {}

 protected:
  // What streamed objects are called, "chat.completion.chunk".
  virtual std::string_view stream_object() const = 0;
  // The beginning of an answer, up to "choices":
  static std::string opening(const Generation& g, std::string_view object);
  // That of every streamed one, made once.
  const std::string& stream_opening(const Generation& g);
  // The event with the whole request's usage.
  virtual std::string stream_usage(const Generation& g);
  // The end of a streamed event about a choice: its usage, if wanted, and the closing brace.
  static std::string stream_end(const Generation& g, const Choice& choice);
  static std::string finish_json(const Choice& choice);
  static std::string stop_reason_json(const Choice& choice);

 private:
  std::string stream_opening_;
};

class Generation final : public std::enable_shared_from_this<Generation> {
 public:
  // `traceparent`: of the request, or empty.
  Generation(Context& context, std::string_view traceparent, protocol::CommonRequest request, std::vector<std::vector<std::int32_t>> prompts,
             std::unique_ptr<Format> format, Writer writer);

  void start();
  void receive(engine::TokenMessage&& message);
  // Of a request in the background, on the I/O thread: ends it.
  void cancel();

  Context& context() const { return context_; }
  const protocol::CommonRequest& request() const { return request_; }
  const std::vector<std::vector<std::int32_t>>& prompts() const { return prompts_; }
  const std::vector<Choice>& choices() const { return choices_; }
  const Usage& usage() const { return usage_; }
  // JSON: where another engine finds the blocks of the prompt; null unless the request asked for it.
  const std::string& kv_transfer_params() const { return kv_transfer_params_; }
  const std::string& id() const { return id_; }
  std::int64_t created() const { return created_; }
  const std::string& model() const { return model_; }
  std::string usage_json() const { return usage_json(usage_); }
  std::string usage_json(const Usage& usage) const;

 private:
  void make_choices();
  void admit();
  engine::SubmitMessage message_for(std::size_t prompt) const;
  void open();
  Status submit();
  Piece advance(Choice& choice, engine::TokenMessage& message);
  void begin_stream();
  void finish();
  void fail(const Error& error);
  void cancel_all();
  void leave();  // the client
  // Tells the log and the trace how it ended.
  void note_end(std::string_view finish, const std::string& error = {});

  Context& context_;
  protocol::CommonRequest request_;
  std::vector<std::vector<std::int32_t>> prompts_;
  std::vector<protocol::SamplingParams> sampling_;  // one per prompt
  std::vector<std::unique_ptr<engine::Admitted>> admitted_;  // one per prompt, until submitted
  std::unique_ptr<Format> format_;
  Writer writer_;
  std::string id_;
  std::string model_;
  std::int64_t created_;
  std::unordered_map<engine::RequestId, int> submitted_;
  std::vector<Choice> choices_;
  Usage usage_;
  std::string kv_transfer_params_ = "null";
  RequestRecord record_;
  std::optional<tracing::Span> span_;
  std::size_t done_ = 0;
  bool streaming_ = false;  // the head of the stream is written
  bool accepted_ = false;   // in the background: nobody waits
};

// Starts a generation for what `http` asked, once its headers are understood; answers with an error if
// they are not. X-data-parallel-rank pins the request to a rank.
void start_generation(Context& context, const net::Request& http, protocol::CommonRequest request,
                      std::vector<std::vector<std::int32_t>> prompts, std::unique_ptr<Format> format, Writer writer);

}  // namespace braid::serve
