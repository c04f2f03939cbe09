// SPDX-License-Identifier: Apache-2.0
#include "serve/generation.h"

#include <algorithm>
#include <charconv>

#include "protocol/json_text.h"

namespace braid::serve {

using protocol::FinishReason;
using protocol::json_string;

namespace {

constexpr const char* kRankHeader = "X-data-parallel-rank";

Result<std::optional<int>> read_rank(const net::Request& http) {
  const std::string_view text = http.header(kRankHeader);
  if (text.empty()) return std::optional<int>();
  int rank = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), rank);
  if (error == std::errc() && end == text.data() + text.size() && rank >= 0) return std::optional<int>(rank);
  return invalid_argument(std::string(kRankHeader) + ": '" + std::string(text) + "' is not the number of a rank; send 0 or more", kRankHeader);
}

}  // namespace

std::string Format::opening(const Generation& g, std::string_view object) {
  return "{\"id\":" + json_string(g.id()) + ",\"object\":" + json_string(object) + ",\"created\":" +
         std::to_string(g.created()) + ",\"model\":" + json_string(g.model()) + ",\"choices\":";
}

std::string Format::stream_tail(const Generation& g) {
  return (g.request().include_usage ? stream_usage(g) : "") + "data: [DONE]\n\n";
}

std::string Format::stream_failure(const Generation&, const Error& error) {
  return "data: " + protocol::error_body(error, protocol::status_of(error.code)) + "\n\ndata: [DONE]\n\n";
}

const std::string& Format::stream_opening(const Generation& g) {
  if (stream_opening_.empty()) stream_opening_ = opening(g, stream_object());
  return stream_opening_;
}

std::string Format::stream_end(const Generation& g, const Choice& c) {
  if (!g.request().continuous_usage) return "}\n\n";
  Usage usage;
  usage.prompt = static_cast<std::int64_t>(g.prompts()[static_cast<std::size_t>(c.prompt)].size());
  usage.completion = static_cast<std::int64_t>(c.tokens.size());
  return ",\"usage\":" + g.usage_json(usage) + "}\n\n";
}

std::string Format::stream_usage(const Generation& g) {
  return "data: " + stream_opening(g) + "[],\"usage\":" + g.usage_json() + "}\n\n";
}

bool Format::needs_every_token(const Generation& g) const {
  return g.request().return_token_ids || g.request().sampling.logprobs.has_value();
}

std::string Format::finish_json(const Choice& c) {
  return c.done() ? json_string(protocol::name_of(c.finish)) : "null";
}

std::string Format::stop_reason_json(const Choice& c) {
  if (c.stops && c.stops->found()) return json_string(*c.stops->found());
  return c.stop_token ? std::to_string(*c.stop_token) : "null";
}

Generation::Generation(Context& context, std::string_view traceparent, protocol::CommonRequest request,
                       std::vector<std::vector<std::int32_t>> prompts, std::unique_ptr<Format> format, Writer writer)
    : context_(context), request_(std::move(request)), prompts_(std::move(prompts)), format_(std::move(format)),
      writer_(std::move(writer)), model_(request_.model.empty() ? context.model_names.front() : request_.model),
      created_(context.now_seconds()) {
  record_.arrived = std::chrono::steady_clock::now();
  if (context_.parts.tracer) span_ = context_.parts.tracer->root("llm_request", traceparent, record_.arrived);
  if (context_.settings.enable_force_include_usage) request_.include_usage = request_.continuous_usage = true;
}

void Generation::make_choices() {
  const int n = request_.sampling.n;
  for (std::size_t p = 0; p < prompts_.size(); ++p) {
    usage_.prompt += static_cast<std::int64_t>(prompts_[p].size());
    for (int i = 0; i < n; ++i) {
      Choice choice;
      choice.prompt = static_cast<int>(p);
      choice.index = static_cast<int>(p) * n + i;
      if (context_.parts.tokenizer) choice.detokenizer.emplace(context_.parts.tokenizer, request_.sampling.skip_special_tokens);
      choice.stops.emplace(request_.sampling.stop, request_.sampling.include_stop_str_in_output);
      choices_.push_back(std::move(choice));
    }
  }
}

void Generation::start() {
  id_ = request_.request_id.empty() ? context_.new_id(format_->id_prefix())
                                    : format_->id_prefix() + request_.request_id;
  for (const auto& prompt : prompts_) {
    auto sampling = protocol::sampling_for(request_, context_.parts.engine->max_model_len() - static_cast<std::int64_t>(prompt.size()));
    if (!sampling.ok()) return send_error(writer_, sampling.error());
    sampling_.push_back(std::move(*sampling));
  }
  make_choices();
  const auto& sampling = request_.sampling;
  const bool quick = sampling.structured.kind == protocol::StructuredOutput::Kind::kNone && sampling.bad_words.empty();
  if (quick) return admit();
  if (!context_.text->run([self = shared_from_this()] { self->admit(); })) send_text_queue_full(writer_);
}

void Generation::admit() {
  for (std::size_t p = 0; p < prompts_.size(); ++p) {
    auto request = context_.parts.engine->admit(message_for(p));
    if (!request.ok()) return send_error(writer_, request.error());
    admitted_.push_back(std::move(*request));
  }
  context_.http->post([self = shared_from_this()] { self->open(); });
}

engine::SubmitMessage Generation::message_for(std::size_t prompt) const {
  engine::SubmitMessage message;
  message.prompt = prompts_[prompt];
  message.params = sampling_[prompt];
  message.priority = request_.priority;
  message.cache_salt = request_.cache_salt;
  if (prompts_.size() == 1) message.kv_transfer_params = request_.kv_transfer_params;
  message.request_id = id_;
  message.rank = request_.rank;
  if (const int seconds = context_.settings.request_timeout_seconds) {
    message.deadline = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  }
  message.subscriber = context_.mailbox;
  return message;
}

void Generation::open() {
  if (!writer_->open()) return;
  if (const Status status = submit(); !status.ok()) {
    cancel_all();
    return send_error(writer_, status.error());
  }
  if (std::string body = format_->accepted(*this); !body.empty()) {
    accepted_ = true;
    context_.background[id_] = weak_from_this();
    return send_json(writer_, 200, std::move(body));
  }
  writer_->on_close([weak = weak_from_this()] {
    if (auto self = weak.lock()) self->leave();
  });
}

void Generation::begin_stream() {
  streaming_ = true;
  net::Response head;
  head.content_type = "text/event-stream; charset=utf-8";
  head.headers = {{"Cache-Control", "no-cache"}};
  head.body = format_->stream_start(*this);
  writer_->begin(std::move(head));
}

Status Generation::submit() {
  for (std::size_t p = 0; p < admitted_.size(); ++p) {
    ASSIGN_OR_RETURN(const auto id, context_.parts.engine->submit(std::move(admitted_[p])));
    submitted_.emplace(id, static_cast<int>(p));
    context_.mailbox->add(id, shared_from_this());
  }
  admitted_.clear();
  return {};
}

void Generation::receive(engine::TokenMessage&& message) {
  const bool early = message.finish == FinishReason::kNone && message.tokens.empty() && !message.kv_transfer_params.empty();
  if (early) return writer_->early({{protocol::kEarlyTransfer, std::move(message.kv_transfer_params)}});
  const int prompt = submitted_.at(message.request);
  Choice& choice = choices_[static_cast<std::size_t>(prompt * request_.sampling.n + message.index)];
  if (choice.done()) return;
  const Piece piece = advance(choice, message);
  if (choice.finish == FinishReason::kError) return fail(choice.error);
  if (request_.stream && !streaming_) begin_stream();
  if (request_.stream && (choice.done() || !piece.text.empty() || (!piece.tokens.empty() && format_->needs_every_token(*this)))) {
    std::string event = format_->stream_piece(*this, choice, piece);
    if (!event.empty()) writer_->write(std::move(event));
  }
  if (done_ == choices_.size()) finish();
}

void Generation::fail(const Error& error) {
  cancel_all();
  note_end("error", error.message);
  if (accepted_) {
    context_.background.erase(id_);
    return format_->ended(*this, &error);
  }
  if (!streaming_) return send_error(writer_, error);
  writer_->write(format_->stream_failure(*this, error));
  writer_->end();
}

Piece Generation::advance(Choice& choice, engine::TokenMessage& message) {
  if (choice.tokens.empty()) usage_.cached += message.index == 0 ? message.cached_tokens : 0;
  if (!message.prompt_logprobs.empty()) choice.prompt_logprobs = std::move(message.prompt_logprobs);
  Piece piece;
  piece.tokens = message.tokens;
  piece.logprobs = message.logprobs;
  usage_.completion += static_cast<std::int64_t>(message.tokens.size());
  FinishReason finish = message.finish;
  std::span<const std::int32_t> shown(message.tokens);
  const auto& eos = context_.parts.eos_ids;
  const bool ends_with_stop = finish == FinishReason::kStop && !shown.empty() &&
                              (message.stop_token || std::find(eos.begin(), eos.end(), shown.back()) != eos.end());
  if (ends_with_stop && !request_.sampling.include_stop_str_in_output) shown = shown.first(shown.size() - 1);
  if (choice.detokenizer) {
    piece.text = choice.stops->append(choice.detokenizer->append(shown));
    if (finish != FinishReason::kNone) {
      piece.text += choice.stops->append(choice.detokenizer->finish());
      piece.text += choice.stops->finish();
    }
  }
  if (choice.stops->found() && finish != FinishReason::kError) {
    if (finish == FinishReason::kNone) context_.parts.engine->cancel(message.request, message.index);
    finish = FinishReason::kStop;
  }
  choice.text += piece.text;
  choice.tokens.insert(choice.tokens.end(), message.tokens.begin(), message.tokens.end());
  for (auto& logprobs : message.logprobs) choice.logprobs.push_back(std::move(logprobs));
  choice.finish = finish;
  choice.stop_token = message.stop_token;
  choice.error = message.error;
  if (!message.kv_transfer_params.empty()) kv_transfer_params_ = std::move(message.kv_transfer_params);
  if (message.timing) record_.take(*message.timing);
  if (choice.done()) ++done_;
  return piece;
}

void Generation::finish() {
  note_end(protocol::name_of(choices_.front().finish));
  for (const auto& [id, prompt] : submitted_) context_.mailbox->remove(id);
  if (accepted_) {
    context_.background.erase(id_);
    format_->whole(*this);
    return;
  }
  if (request_.stream) {
    writer_->write(format_->stream_tail(*this));
    writer_->end();
    return;
  }
  send_json(writer_, 200, format_->whole(*this));
}

void Generation::cancel_all() {
  for (const auto& [id, prompt] : submitted_) {
    context_.parts.engine->cancel(id);
    context_.mailbox->remove(id);
  }
}

void Generation::cancel() {
  cancel_all();
  note_end("abort", "it was cancelled");
  context_.background.erase(id_);
  format_->ended(*this, nullptr);
}

void Generation::leave() {
  cancel_all();
  note_end("abort", "the client has left");
}

void Generation::note_end(std::string_view finish, const std::string& error) {
  const TimePoint now = std::chrono::steady_clock::now();
  record_.id = id_;
  record_.ended = now;
  record_.finish = finish;
  record_.prompt_tokens = usage_.prompt;
  record_.cached_tokens = usage_.cached;
  record_.output_tokens = usage_.completion;
  context_.requests.add(record_);
  if (!span_) return;
  describe_request(*span_, request_, model_, record_, choices_.size());
  if (!error.empty()) span_->error = error;
  end_request_span(*context_.parts.tracer, *std::exchange(span_, std::nullopt), record_);
}

std::string Generation::usage_json(const Usage& usage) const {
  std::string json = "{\"prompt_tokens\":" + std::to_string(usage.prompt) +
                     ",\"total_tokens\":" + std::to_string(usage.prompt + usage.completion) +
                     ",\"completion_tokens\":" + std::to_string(usage.completion) + ",\"prompt_tokens_details\":";
  if (context_.settings.enable_prompt_tokens_details) json += "{\"cached_tokens\":" + std::to_string(usage.cached) + "}";
  else json += "null";
  return json + "}";
}

void start_generation(Context& context, const net::Request& http, protocol::CommonRequest request,
                      std::vector<std::vector<std::int32_t>> prompts, std::unique_ptr<Format> format, Writer writer) {
  const auto rank = read_rank(http);
  if (!rank.ok()) return send_error(writer, rank.error());
  request.rank = *rank;
  std::make_shared<Generation>(context, http.header(tracing::kTraceParent), std::move(request), std::move(prompts), std::move(format), std::move(writer))->start();
}

}  // namespace braid::serve
