// SPDX-License-Identifier: Apache-2.0
// A subscriber that tests wait for: everything that was said, by request.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <vector>

#include "engine/messages.h"

namespace braid::engine::testing {

class Listener final : public Subscriber {
 public:
  // Requests of one choice each.
  struct Answer {
    std::vector<std::int32_t> tokens;
    std::vector<float> logprobs;  // of the tokens, when asked for
    bool operator==(const Answer&) const = default;
  };

  void on_tokens(std::vector<TokenMessage>&& messages) override {
    std::lock_guard lock(mutex_);
    for (const auto& m : messages) {
      EXPECT_NE(m.finish, protocol::FinishReason::kError) << m.error.message;
      Answer& answer = answers_[m.request];
      answer.tokens.insert(answer.tokens.end(), m.tokens.begin(), m.tokens.end());
      for (const auto& position : m.logprobs) answer.logprobs.push_back(position.front().logprob);
      if (m.finish != protocol::FinishReason::kNone) ++ended_;
    }
    changed_.notify_all();
  }
  // Until so many requests have ended; false: they did not in two minutes.
  bool wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::minutes(2), [&] { return ended_ >= count; });
  }
  std::map<RequestId, Answer> answers() {
    std::lock_guard lock(mutex_);
    return answers_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<RequestId, Answer> answers_;
  std::size_t ended_ = 0;
};

}  // namespace braid::engine::testing
