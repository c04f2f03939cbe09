// SPDX-License-Identifier: Apache-2.0
#include "engine/admission.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "sample/random.h"
#include "text/gated_matcher.h"

namespace braid::engine {
namespace {

using protocol::StructuredOutput;

text::GrammarKind kind_of(StructuredOutput::Kind kind) {
  switch (kind) {
    case StructuredOutput::Kind::kJsonSchema: return text::GrammarKind::kJsonSchema;
    case StructuredOutput::Kind::kRegex: return text::GrammarKind::kRegex;
    case StructuredOutput::Kind::kChoice: return text::GrammarKind::kChoice;
    case StructuredOutput::Kind::kGrammar: return text::GrammarKind::kGrammar;
    case StructuredOutput::Kind::kNone:
    case StructuredOutput::Kind::kStructuralTag:
    case StructuredOutput::Kind::kJsonObject: break;
  }
  return text::GrammarKind::kJsonObject;
}

std::string number(std::int64_t n) { return std::to_string(n); }

}  // namespace

Status check_rank(const SubmitMessage& message, std::size_t ranks) {
  if (!message.rank || (*message.rank >= 0 && static_cast<std::size_t>(*message.rank) < ranks)) return {};
  const std::string there = ranks == 1 ? "there is rank 0 only" : "there are ranks 0 to " + std::to_string(ranks - 1);
  return invalid_argument("data_parallel_rank " + std::to_string(*message.rank) + " does not exist; " + there, "data_parallel_rank");
}

Admission::Admission(const AdmissionLimits& limits,
                     Vocabulary vocabulary,
                     prefix::BlockHasher* hasher,
                     Metrics* metrics,
                     const Clock* clock)
    : limits_(limits),
      vocabulary_(std::move(vocabulary)),
      hasher_(hasher),
      metrics_(metrics),
      clock_(clock) {}

Result<std::unique_ptr<Request>> Admission::admit(SubmitMessage message) {
  auto request = build(std::move(message));
  if (!request.ok()) metrics_->admission_rejections.with({"invalid"}).add();
  return request;
}

Status Admission::start_waiting() {
  if (waiting_.fetch_add(1, std::memory_order_relaxed) < limits_.max_waiting) return {};
  stopped_waiting();
  metrics_->admission_rejections.with({"queue_full"}).add();
  return Error{ErrorCode::kResourceExhausted,
               "the waiting queue is full: " + number(limits_.max_waiting) +
                   " requests wait already; try again later",
               {}};
}

Status Admission::check(const SubmitMessage& message) const {
  if (message.subscriber == nullptr) return internal_error("a request needs a subscriber");
  RETURN_IF_ERROR(check_rank(message, 1));
  if (!message.progress.empty() && message.progress.size() != static_cast<std::size_t>(std::max(0, message.params.n))) {
    return internal_error("a request that goes on needs the progress of each of its choices");
  }
  RETURN_IF_ERROR(check_length(message));
  RETURN_IF_ERROR(check_tokens(message));
  return check_params(message.params);
}

Status Admission::check_length(const SubmitMessage& message) const {
  const auto prompt = static_cast<std::int64_t>(message.prompt.size());
  const std::int64_t output = message.params.max_tokens;
  const std::int64_t longest = limits_.max_model_len - (output > 0 ? 1 : 0);
  if (prompt == 0) return invalid_argument("the prompt has no tokens", "prompt");
  if (prompt > longest) {
    return invalid_argument("the prompt has " + number(prompt) + " tokens; at most " +
                                number(longest) + " fit (maximum model length " +
                                number(limits_.max_model_len) + ")",
                            "prompt");
  }
  if (output < 0 || prompt + output > limits_.max_model_len) {
    return invalid_argument("max_tokens is " + number(output) + " and the prompt has " +
                                number(prompt) + " tokens; max_tokens can be at most " +
                                number(limits_.max_model_len - prompt) +
                                " (maximum model length " + number(limits_.max_model_len) + ")",
                            "max_tokens");
  }
  if (!limits_.chunked_prefill && prompt > limits_.max_batched_tokens) {
    return invalid_argument("the prompt has " + number(prompt) + " tokens; at most " +
                                number(limits_.max_batched_tokens) +
                                " fit into one step (max-num-batched-tokens, without chunked prefill)",
                            "prompt");
  }
  return {};
}

Status Admission::check_tokens(const SubmitMessage& message) const {
  const auto check = [&](const std::vector<std::int32_t>& tokens, const char* name) -> Status {
    for (const std::int32_t token : tokens) {
      if (token >= 0 && token < vocabulary_.size) continue;
      return invalid_argument(std::string(name) + " has token id " + number(token) +
                                  ", which is outside the vocabulary; ids go from 0 to " +
                                  number(vocabulary_.size - 1),
                              name);
    }
    return {};
  };
  std::vector<std::int32_t> biased;
  for (const auto& [token, bias] : message.params.logit_bias) biased.push_back(token);
  RETURN_IF_ERROR(check(message.prompt, "prompt"));
  for (const Progress& progress : message.progress) RETURN_IF_ERROR(check(progress.tokens, "progress"));
  RETURN_IF_ERROR(check(message.params.stop_token_ids, "stop_token_ids"));
  RETURN_IF_ERROR(check(message.params.allowed_token_ids, "allowed_token_ids"));
  return check(biased, "logit_bias");
}

Status Admission::check_params(const protocol::SamplingParams& params) const {
  const auto cap = [&](const std::optional<int>& asked, const char* name) -> Status {
    if (!asked.has_value() || limits_.max_logprobs < 0) return {};
    if (*asked >= 0 && *asked <= limits_.max_logprobs) return {};
    return invalid_argument(std::string(name) + " is " + number(*asked) + "; at most " +
                                number(limits_.max_logprobs) + " are allowed (max-logprobs)",
                            name);
  };
  RETURN_IF_ERROR(cap(params.logprobs, "logprobs"));
  RETURN_IF_ERROR(cap(params.prompt_logprobs, "prompt_logprobs"));
  if (params.n < 1) return invalid_argument("n is " + number(params.n) + "; it must be at least 1", "n");
  if (params.min_tokens > params.max_tokens) {
    return invalid_argument("min_tokens is " + number(params.min_tokens) +
                                "; it can be at most max_tokens, " + number(params.max_tokens),
                            "min_tokens");
  }
  return {};
}

Result<std::unique_ptr<text::GrammarMatcher>> Admission::compile_grammar(
    const StructuredOutput& structured) const {
  if (structured.kind == StructuredOutput::Kind::kNone) {
    return std::unique_ptr<text::GrammarMatcher>();
  }
  if (structured.kind == StructuredOutput::Kind::kStructuralTag) {
    return invalid_argument("structural tags are not supported; use a JSON schema, regex, choice or grammar",
                            "structured_outputs");
  }
  if (vocabulary_.grammars == nullptr) {
    return invalid_argument("structured output needs a tokenizer, and this server runs without one",
                            "structured_outputs");
  }
  std::string text = structured.text;
  if (structured.kind == StructuredOutput::Kind::kChoice) {
    text = nlohmann::json(structured.choices)
               .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  return vocabulary_.grammars->compile(kind_of(structured.kind), text);
}

Result<std::unique_ptr<text::GrammarMatcher>> Admission::make_matcher(const protocol::SamplingParams& params) const {
  ASSIGN_OR_RETURN(auto matcher, compile_grammar(params.structured));
  const bool triggered = matcher && !params.structured.trigger.empty();
  const protocol::ReasoningSpan& span = params.reasoning;
  const bool gated = !span.close.empty() && (matcher || span.budget);
  if (!triggered && !gated) return matcher;
  if (vocabulary_.tokenizer == nullptr) {
    return invalid_argument("limits of reasoning and strict tools need a tokenizer, and this server runs without one", "structured_outputs");
  }
  if (triggered) matcher = text::after_each(params.structured.trigger, vocabulary_.tokenizer, std::move(matcher));
  if (!gated) return matcher;
  return text::after_reasoning({span.open, span.close, span.open_in_prompt, span.budget}, vocabulary_.tokenizer, std::move(matcher));
}

Result<std::vector<std::vector<std::int32_t>>> Admission::encode_bad_words(
    const std::vector<std::string>& words) const {
  std::vector<std::vector<std::int32_t>> sequences;
  if (!words.empty() && vocabulary_.encode_bad_word == nullptr) {
    return invalid_argument("bad_words needs a tokenizer, and this server runs without one",
                            "bad_words");
  }
  for (const std::string& word : words) {
    for (auto& sequence : vocabulary_.encode_bad_word(word)) sequences.push_back(std::move(sequence));
  }
  return sequences;
}

Result<transfer::Params> Admission::read_transfer(const SubmitMessage& message) const {
  ASSIGN_OR_RETURN(transfer::Params params, transfer::read_params(message.kv_transfer_params));
  if (params.hold && !limits_.lends) {
    return invalid_argument("kv_transfer_params asks for do_remote_decode, but this engine is a kv_consumer", "kv_transfer_params");
  }
  if (params.source && !limits_.borrows) {
    return invalid_argument("kv_transfer_params asks for do_remote_prefill, but this engine is a kv_producer", "kv_transfer_params");
  }
  if (!message.progress.empty()) params.source.reset();
  return params;
}

// As if the choice had generated its tokens here and been preempted.
Status Admission::go_on(Choice& choice, const Progress& progress) {
  for (const std::int32_t token : progress.tokens) {
    choice.tokens.push_back(token);
    if (!choice.sampler.accept(token)) return internal_error("a request that goes on brings a token that its grammar forbids");
  }
  if (progress.ended) {
    choice.state = Sequence::State::kFinished;
    --choice.request->unfinished;
  }
  return {};
}

Result<std::unique_ptr<Request>> Admission::build(SubmitMessage message) {
  RETURN_IF_ERROR(check(message));
  ASSIGN_OR_RETURN(const auto grammar, make_matcher(message.params));
  ASSIGN_OR_RETURN(const auto bad_words, encode_bad_words(message.params.bad_words));

  ASSIGN_OR_RETURN(auto transfer, read_transfer(message));

  auto request = std::make_unique<Request>();
  request->transfer = std::move(transfer);
  request->id = next_id_.fetch_add(1, std::memory_order_relaxed);
  request->params = std::move(message.params);
  request->prompt_length = static_cast<std::int32_t>(message.prompt.size());
  request->deadline = message.deadline;
  request->subscriber = std::move(message.subscriber);
  request->arrived = clock_->now();
  const auto& params = request->params;
  request->unfinished = params.n;

  std::vector<std::int32_t> end_ids = vocabulary_.eos_ids;
  end_ids.insert(end_ids.end(), params.stop_token_ids.begin(), params.stop_token_ids.end());
  const std::uint64_t base = params.seed.has_value() ? static_cast<std::uint64_t>(*params.seed)
                                                     : sample::mix_seed(limits_.seed, request->id);
  for (int i = 0; i < params.n; ++i) {
    sample::RowSampler sampler(params,
                               message.prompt,
                               {.seed = base + static_cast<std::uint64_t>(i),
                                .end_ids = end_ids,
                                .bad_words = bad_words,
                                .grammar = grammar == nullptr ? nullptr : grammar->clone()});
    auto choice = std::make_unique<Choice>(request.get(),
                                           message.prompt,
                                           limits_.paging,
                                           hasher_,
                                           message.cache_salt,
                                           std::move(sampler));
    choice->priority = limits_.priority ? message.priority : 0;
    choice->arrival = request->id;
    choice->index = i;
    choice->wants_prompt_rows = i == 0 && params.prompt_logprobs.has_value();
    choice->leader = i == 0 ? nullptr : request->choices.front().get();
    if (!message.progress.empty()) RETURN_IF_ERROR(go_on(*choice, message.progress[static_cast<std::size_t>(i)]));
    request->choices.push_back(std::move(choice));
  }
  return request;
}

}  // namespace braid::engine
