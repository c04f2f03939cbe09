// SPDX-License-Identifier: Apache-2.0
// The few fields of a request body that routing needs, found in one pass without building a
// document: the rest of the JSON is only skipped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace braid::router {

// Which fields of a body hold the prompt, by the API that its path belongs to.
enum class Api { kOpenAi, kAnthropic, kVllm, kSglang, kNone };

// The API that claims `path` by its last words: "/v1/chat/completions" -> kOpenAi.
Api api_of(std::string_view path);

// Where in the body something stands.
struct Piece {
  std::size_t begin = 0;
  std::size_t size = 0;

  bool empty() const { return size == 0; }
  std::string_view in(std::string_view body) const { return body.substr(begin, size); }
};

struct BodyFacts {
  std::string model;
  Piece model_value;          // the JSON string, quotes included
  std::vector<Piece> prompt;  // JSON of tools, system, messages or prompt, in this order
  std::vector<std::int32_t> token_ids;  // when the prompt is given as ids
  std::string cache_salt;
  std::string user;
  std::optional<std::int64_t> max_tokens;
  std::optional<std::int64_t> priority;
  bool streaming = false;
  bool multimodal = false;  // some content is an image, a video or audio

  std::size_t prompt_bytes() const;
};

// Errors: not one JSON object, or a field that routing needs has another type.
Result<BodyFacts> scan_body(std::string_view body, Api api);

}  // namespace braid::router
