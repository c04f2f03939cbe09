// SPDX-License-Identifier: Apache-2.0
// Changes an endpoint's answer on its way to the client, line by line, where something has to be
// changed: events are whole lines, and a JSON answer is one. Without a change bytes pass as they come.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace braid::gateway {

struct AnswerChanges {
  std::string model_from;  // as the endpoint calls it; empty: the name stays
  std::string model_to;
  std::optional<std::int64_t> cached_tokens;  // usage.prompt_tokens_details.cached_tokens, where it is told

  bool none() const { return model_from.empty() && !cached_tokens; }
};

class AnswerRewriter {
 public:
  explicit AnswerRewriter(const AnswerChanges& changes);

  bool idle() const { return idle_; }
  // What can be sent on by now.
  std::string feed(std::string_view bytes);
  // The rest, at the answer's end.
  std::string finish();

 private:
  void change(std::string& line) const;

  const bool idle_;
  std::string from_;  // ready for search: "model":"...
  std::string from_spaced_;
  std::string to_;
  std::optional<std::int64_t> cached_tokens_;
  std::string line_;
};

}  // namespace braid::gateway
