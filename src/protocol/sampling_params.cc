// SPDX-License-Identifier: Apache-2.0
#include "protocol/sampling_params.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "protocol/request.h"

namespace braid::protocol {
namespace {

constexpr int kMostChoices = 16384;
constexpr float kGreedy = 1e-5f;        // temperatures below are 0
constexpr float kLeastTemperature = 1e-2f;  // above 0

template <class T>
void drop_repeated(std::vector<T>& values) {
  auto end = values.begin();
  for (auto it = values.begin(); it != values.end(); ++it) {
    if (std::find(values.begin(), end, *it) != end) continue;
    if (end != it) *end = std::move(*it);
    ++end;
  }
  values.erase(end, values.end());
}

// `param` stays empty where the peer leaves it so.
template <class T>
Status require(bool holds, const char* name, const char* bounds, T value, const char* param = "") {
  if (holds) return {};
  return invalid_argument(fmt::format("{} must be {}, found {}", name, bounds, value), param);
}

bool within(float value, float low, float high) { return value >= low && value <= high; }

Status check_numbers(const SamplingParams& s) {
  RETURN_IF_ERROR(require(s.n >= 1 && s.n <= kMostChoices, "n", "from 1 to 16384", s.n));
  RETURN_IF_ERROR(require(within(s.presence_penalty, -2, 2), "presence_penalty", "from -2 to 2", s.presence_penalty));
  RETURN_IF_ERROR(require(within(s.frequency_penalty, -2, 2), "frequency_penalty", "from -2 to 2", s.frequency_penalty));
  const bool repetition = std::isfinite(s.repetition_penalty) && s.repetition_penalty > 0;
  RETURN_IF_ERROR(require(repetition, "repetition_penalty", "a finite number above 0", s.repetition_penalty));
  RETURN_IF_ERROR(require(within(s.temperature, 0, 2), "temperature", "from 0 to 2", s.temperature, "temperature"));
  RETURN_IF_ERROR(require(s.top_p > 0 && s.top_p <= 1, "top_p", "above 0 and at most 1", s.top_p, "top_p"));
  RETURN_IF_ERROR(require(s.top_k >= -1, "top_k", "at least 1, or 0 or -1 for all", s.top_k));
  RETURN_IF_ERROR(require(within(s.min_p, 0, 1), "min_p", "from 0 to 1", s.min_p));
  RETURN_IF_ERROR(require(s.max_tokens >= 1, "max_tokens", "at least 1", s.max_tokens, "max_tokens"));
  RETURN_IF_ERROR(require(s.min_tokens >= 0, "min_tokens", "at least 0", s.min_tokens));
  const std::string most = "at most max_tokens, " + std::to_string(s.max_tokens);
  RETURN_IF_ERROR(require(s.min_tokens <= s.max_tokens, "min_tokens", most.c_str(), s.min_tokens));
  const auto logprobs = s.logprobs.value_or(0), prompt_logprobs = s.prompt_logprobs.value_or(0);
  RETURN_IF_ERROR(require(logprobs >= -1, "logprobs", "at least 0, or -1 for all", logprobs, "logprobs"));
  return require(prompt_logprobs >= -1, "prompt_logprobs", "at least 0, or -1 for all", prompt_logprobs, "prompt_logprobs");
}

Status check_texts(const SamplingParams& s) {
  const auto has_empty = [](const std::vector<std::string>& texts) { return std::find(texts.begin(), texts.end(), "") != texts.end(); };
  if (has_empty(s.stop)) return invalid_argument("stop holds an empty text; leave it out");
  if (has_empty(s.bad_words)) return invalid_argument("bad_words holds an empty text; leave it out");
  return {};
}

}  // namespace

Result<SamplingParams> sampling_for(const CommonRequest& request, std::int64_t room) {
  SamplingParams s = request.sampling;
  const auto most = static_cast<int>(std::clamp<std::int64_t>(room, 1, INT32_MAX));
  s.max_tokens = request.max_tokens.value_or(most);
  if (s.temperature > 0) s.temperature = std::max(s.temperature, kLeastTemperature);
  drop_repeated(s.stop_token_ids);
  drop_repeated(s.bad_words);
  RETURN_IF_ERROR(check_numbers(s));
  RETURN_IF_ERROR(check_texts(s));
  if (s.temperature >= kGreedy) return s;
  s.top_p = 1;
  s.top_k = 0;
  s.min_p = 0;
  RETURN_IF_ERROR(require(s.n == 1, "n", "1 when temperature is 0", s.n));
  return s;
}

const char* name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone: return "";
    case FinishReason::kStop: return "stop";
    case FinishReason::kLength: return "length";
    case FinishReason::kAbort: return "abort";
    case FinishReason::kError: return "error";
  }
  return "";
}

}  // namespace braid::protocol
