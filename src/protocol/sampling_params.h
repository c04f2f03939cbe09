// SPDX-License-Identifier: Apache-2.0
// How one request wants its tokens chosen; the names and meanings are those of the OpenAI API and
// its usual extensions. Plain data, valid when it comes from protocol::sampling_for().
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace braid::protocol {

// At most one is set: what the output must match.
struct StructuredOutput {
  enum class Kind { kNone, kJsonSchema, kJsonObject, kRegex, kChoice, kGrammar, kStructuralTag };
  Kind kind = Kind::kNone;
  std::string text;                  // schema or tag as JSON, regex or grammar (Lark or EBNF)
  std::vector<std::string> choices;  // kChoice
  std::string trigger;  // it holds from each occurrence of this text on, and the rest is free; empty: always
};

// Reasoning in front of the answer, which no constraint of the answer touches.
struct ReasoningSpan {
  std::string open, close;     // what begins and ends it; empty close: there is none
  bool open_in_prompt = true;  // false: the output may also be the answer at once
  std::optional<int> budget;   // most tokens of it
};

struct SamplingParams {
  int n = 1;
  int max_tokens = 16;  // generated tokens per choice
  int min_tokens = 0;   // end-of-sequence and stop ids are not sampled before
  float temperature = 1.0f;  // 0: greedy
  float top_p = 1.0f;
  int top_k = 0;  // 0 or -1: all
  float min_p = 0.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  float repetition_penalty = 1.0f;
  std::optional<std::int64_t> seed;
  std::map<std::int32_t, float> logit_bias;
  std::vector<std::int32_t> allowed_token_ids;  // empty: all
  std::vector<std::string> bad_words;
  std::vector<std::string> stop;
  std::vector<std::int32_t> stop_token_ids;
  bool include_stop_str_in_output = false;
  bool ignore_eos = false;
  std::optional<int> logprobs;         // top alternatives besides the chosen one; -1: all
  std::optional<int> prompt_logprobs;  // likewise for the prompt's tokens
  bool skip_special_tokens = true;
  bool spaces_between_special_tokens = true;
  StructuredOutput structured;
  ReasoningSpan reasoning;
};

enum class FinishReason { kNone, kStop, kLength, kAbort, kError };
const char* name_of(FinishReason reason);  // "stop", "length", "abort", "error"; "" for kNone

}  // namespace braid::protocol
