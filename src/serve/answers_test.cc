// SPDX-License-Identifier: Apache-2.0
// What the generating endpoints answer, whole and streamed, over an engine with a fake model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "serve/testing/server_fixture.h"

namespace braid::serve {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::HasSubstr;

constexpr std::int32_t kVocabulary = 64;

// Tokens of one or two letters, some of two bytes; a prompt's tokens are its letters.
class LetterTokenizer final : public text::Tokenizer {
 public:
  LetterTokenizer() {
    for (char c = 'a'; c < 'a' + 26; ++c) bytes_.emplace_back(1, c);
    for (char c = 'a'; c < 'a' + 26; ++c) bytes_.push_back(std::string("é") + c);
    while (bytes_.size() < kVocabulary) bytes_.emplace_back("ö");
  }
  std::vector<std::int32_t> encode(std::string_view text, bool) const override {
    std::vector<std::int32_t> ids;
    for (const char c : text) ids.push_back(std::clamp(c - 'a', 0, 25));
    return ids;
  }
  std::string decode(std::span<const std::int32_t> ids, bool) const override {
    std::string text;
    for (const auto id : ids) text += bytes(id);
    return text;
  }
  std::int32_t vocabulary_size() const override { return kVocabulary; }
  std::optional<std::int32_t> id_of(std::string_view) const override { return std::nullopt; }
  std::string token(std::int32_t id) const override { return bytes(id); }
  const std::string& bytes(std::int32_t id) const override { return bytes_[static_cast<std::size_t>(id)]; }
  bool is_special(std::int32_t) const override { return false; }
  text::Decoding decoding() const override { return text::Decoding::kBytes; }

 private:
  std::vector<std::string> bytes_;
};

std::size_t characters(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

class AnswersTest : public testing::ServerFixture {
 protected:
  void start(int fail_at = -1) {
    ServerFixture::start({.model = {.vocabulary = kVocabulary, .fail_at = fail_at},
                          .tokenizer = std::make_shared<LetterTokenizer>(),
                          .chat_template = *text::compile_template("{% for m in messages %}{{ m.content }}{% endfor %}"),
                          .max_model_len = 200});
  }

  net::ClientResponse post(const std::string& path, const Json& body, std::vector<net::Header> headers = {}) {
    return fetch({.method = "POST", .target = path, .headers = std::move(headers), .body = body.dump()});
  }

  Json whole(const std::string& path, const Json& body) {
    const auto response = post(path, body);
    EXPECT_EQ(response.status, 200) << response.body;
    return Json::parse(response.body, nullptr, false);
  }

  // The events before the closing [DONE].
  std::vector<Json> streamed(const std::string& path, Json body) {
    body["stream"] = true;
    const std::string text = post(path, body).body;
    std::vector<Json> events;
    std::size_t at = 0;
    for (std::size_t end; (end = text.find("\n\n", at)) != std::string::npos; at = end + 2) {
      EXPECT_TRUE(text.compare(at, 6, "data: ") == 0) << text;
      const std::string data = text.substr(at + 6, end - at - 6);
      if (data == "[DONE]") {
        EXPECT_EQ(end + 2, text.size());
        return events;
      }
      events.push_back(Json::parse(data));
    }
    ADD_FAILURE() << "no [DONE]: " << text;
    return events;
  }
};

const std::string kChat = "/v1/chat/completions", kCompletion = "/v1/completions", kGenerate = "/inference/v1/generate";
const Json kAsk = {{"messages", {{{"role", "user"}, {"content", "hello"}}}}, {"temperature", 0}, {"max_tokens", 12}};
const Json kComplete = {{"prompt", "hello"}, {"temperature", 0}, {"max_tokens", 12}};

Json with(Json body, const Json& more) {
  body.update(more);
  return body;
}

// What the events of a stream say about one choice.
struct Told {
  std::string text;
  Json tokens = Json::array();
  Json logprobs = Json::array();
  Json finish, stop;
};

Told told(const std::vector<Json>& events, int index = 0) {
  Told t;
  for (const auto& event : events) {
    for (const auto& c : event.at("choices")) {
      if (c["index"] != index) continue;
      t.text += c.contains("delta") ? c["delta"].value("content", "") : c.value("text", "");
      if (c.contains("token_ids")) t.tokens.insert(t.tokens.end(), c["token_ids"].begin(), c["token_ids"].end());
      if (c["logprobs"].is_object() && c["logprobs"].contains("content")) {
        t.logprobs.insert(t.logprobs.end(), c["logprobs"]["content"].begin(), c["logprobs"]["content"].end());
      }
      if (!c["finish_reason"].is_null()) t.finish = c["finish_reason"], t.stop = c["stop_reason"];
    }
  }
  return t;
}

TEST_F(AnswersTest, a_chat_says_the_same_whole_and_streamed) {
  start();
  const Json body = with(kAsk, {{"n", 3}, {"temperature", 1}, {"seed", 5}, {"logprobs", true}, {"top_logprobs", 2}, {"return_token_ids", true}});
  const Json answer = whole(kChat, body);
  const auto events = streamed(kChat, with(body, {{"stream_options", {{"include_usage", true}}}}));
  ASSERT_EQ(answer["choices"].size(), 3u);
  for (int i = 0; i < 3; ++i) {
    const Json& choice = answer["choices"][static_cast<std::size_t>(i)];
    const Told t = told(events, i);
    EXPECT_EQ(t.text, choice["message"]["content"]);
    EXPECT_EQ(t.tokens, choice["token_ids"]);
    EXPECT_EQ(t.logprobs, choice["logprobs"]["content"]);
    EXPECT_EQ(t.finish, "length");
    EXPECT_EQ(t.logprobs.size(), 12u);
    EXPECT_EQ(t.logprobs[0]["top_logprobs"].size(), 2u);
  }
  EXPECT_EQ(events.front()["choices"][0]["delta"]["role"], "assistant");
  EXPECT_EQ(events.front()["prompt_token_ids"], answer["prompt_token_ids"]);
  EXPECT_EQ(events.back()["usage"], answer["usage"]);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 36);
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 5);
}

TEST_F(AnswersTest, a_continued_message_can_be_echoed) {
  start();
  const Json body = with(kAsk, {{"messages", {{{"role", "user"}, {"content", "hello"}}, {{"role", "assistant"}, {"content", "well"}}}},
                                {"add_generation_prompt", false}, {"continue_final_message", true}, {"echo", true}, {"return_prompt_text", true}});
  const Json answer = whole(kChat, body);
  EXPECT_THAT(answer["choices"][0]["message"]["content"].get<std::string>(), ::testing::StartsWith("well"));
  EXPECT_EQ(answer["prompt_text"], "hellowell");
  EXPECT_EQ(told(streamed(kChat, body)).text, answer["choices"][0]["message"]["content"]);
}

TEST_F(AnswersTest, a_completion_tells_where_each_token_begins_in_characters) {
  start();
  const Json body = with(kComplete, {{"logprobs", 2}, {"echo", true}});
  const Json answer = whole(kCompletion, body)["choices"][0];
  const Json& logprobs = answer["logprobs"];
  ASSERT_EQ(logprobs["tokens"].size(), 17u);
  EXPECT_TRUE(logprobs["token_logprobs"][0].is_null());
  EXPECT_TRUE(logprobs["top_logprobs"][0].is_null());
  EXPECT_GE(logprobs["top_logprobs"][1].size(), 2u);
  std::string text;
  for (std::size_t i = 0; i < 17; ++i) {
    EXPECT_EQ(logprobs["text_offset"][i], characters(text));
    text += logprobs["tokens"][i].get<std::string>();
  }
  EXPECT_EQ(text, answer["text"]);
  EXPECT_EQ(answer["prompt_logprobs"].size(), 5u);

  Json parts = {{"text_offset", Json::array()}, {"token_logprobs", Json::array()}, {"tokens", Json::array()}, {"top_logprobs", Json::array()}};
  std::string streamed_text;
  for (const auto& event : streamed(kCompletion, body)) {
    streamed_text += event["choices"][0]["text"].get<std::string>();
    for (auto& [name, list] : parts.items()) {
      for (const auto& item : event["choices"][0]["logprobs"][name]) list.push_back(item);
    }
  }
  EXPECT_EQ(streamed_text, answer["text"]);
  EXPECT_EQ(parts, logprobs);
}

TEST_F(AnswersTest, choices_of_a_completion_are_numbered_over_all_prompts) {
  start();
  const Json body = with(kComplete, {{"prompt", {"ab", "cde"}}, {"n", 2}, {"temperature", 1}, {"seed", 3}, {"echo", true}, {"return_token_ids", true}});
  const Json answer = whole(kCompletion, body);
  const auto events = streamed(kCompletion, with(body, {{"stream_options", {{"include_usage", true}, {"continuous_usage_stats", true}}}}));
  ASSERT_EQ(answer["choices"].size(), 4u);
  for (int i = 0; i < 4; ++i) {
    const Json& choice = answer["choices"][static_cast<std::size_t>(i)];
    EXPECT_EQ(choice["index"], i);
    EXPECT_EQ(choice["prompt_token_ids"].size(), i < 2 ? 2u : 3u);
    EXPECT_EQ(told(events, i).text, choice["text"]);
    EXPECT_EQ(told(events, i).tokens, choice["token_ids"]);
  }
  EXPECT_EQ(events.back()["usage"], answer["usage"]);
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 5);
  const Json& last = events[events.size() - 2];
  EXPECT_EQ(last["usage"]["completion_tokens"], 12) << "of its choice alone";
}

TEST_F(AnswersTest, echo_without_tokens_gives_the_prompt_alone) {
  start();
  const Json answer = whole(kCompletion, with(kComplete, {{"max_tokens", 0}, {"echo", true}, {"logprobs", 0}}))["choices"][0];
  EXPECT_EQ(answer["text"], "hello");
  EXPECT_EQ(answer["logprobs"]["tokens"].size(), 5u);
  EXPECT_EQ(told(streamed(kCompletion, with(kComplete, {{"max_tokens", 0}, {"echo", true}}))).text, "hello");
}

TEST_F(AnswersTest, stop_strings_end_the_text_wherever_tokens_begin) {
  start();
  const std::string all = whole(kCompletion, kComplete)["choices"][0]["text"];
  for (std::size_t length = 1; length < 6; ++length) {
    for (std::size_t at = 0; at + length <= all.size(); ++at) {
      const std::string stop = all.substr(at, length);
      if ((stop.front() & 0xC0) == 0x80 || (at + length < all.size() && (all[at + length] & 0xC0) == 0x80)) continue;
      const std::string expected = all.substr(0, all.find(stop));
      for (const bool include : {false, true}) {
        const Json body = with(kComplete, {{"stop", stop}, {"include_stop_str_in_output", include}, {"logprobs", 1}, {"return_token_ids", true}});
        const Json choice = whole(kCompletion, body)["choices"][0];
        EXPECT_EQ(choice["text"], expected + (include ? stop : ""));
        EXPECT_EQ(choice["finish_reason"], "stop");
        EXPECT_EQ(choice["stop_reason"], stop);
        EXPECT_EQ(choice["logprobs"]["tokens"].size(), choice["token_ids"].size());
        const Told t = told(streamed(kCompletion, body));
        EXPECT_EQ(t.text, choice["text"]);
        EXPECT_EQ(t.tokens, choice["token_ids"]);
        EXPECT_EQ(t.stop, stop);
      }
    }
  }
}

TEST_F(AnswersTest, the_tokens_of_a_stopped_choice_end_with_the_one_that_completes_the_stop_string) {
  start();
  const Json all = whole(kCompletion, with(kComplete, {{"logprobs", 0}, {"return_token_ids", true}}))["choices"][0];
  const std::string fourth = all["logprobs"]["tokens"][3], fifth = all["logprobs"]["tokens"][4];
  const std::string stop = fourth + fifth;
  ASSERT_EQ(all["text"].get<std::string>().find(stop), [&] {
    std::string before;
    for (int i = 0; i < 3; ++i) before += all["logprobs"]["tokens"][static_cast<std::size_t>(i)].get<std::string>();
    return before.size();
  }());
  const Json choice = whole(kCompletion, with(kComplete, {{"stop", stop}, {"return_token_ids", true}}))["choices"][0];
  EXPECT_EQ(choice["token_ids"].size(), 5u);
}

TEST_F(AnswersTest, a_failure_in_a_stream_is_its_last_event) {
  start(6);
  const auto events = streamed(kChat, with(kAsk, {{"n", 2}, {"temperature", 1}, {"stream_options", {{"include_usage", true}}}}));
  ASSERT_GT(events.size(), 2u);
  EXPECT_EQ(events.back()["error"]["code"], 500);
  EXPECT_EQ(events.back()["error"]["type"], "InternalServerError");
  for (std::size_t i = 0; i + 1 < events.size(); ++i) EXPECT_FALSE(events[i].contains("error"));
  for (const auto& event : events) EXPECT_FALSE(event.contains("usage"));
}

TEST_F(AnswersTest, a_failure_before_a_whole_answer_is_an_error) {
  start(6);
  const auto response = post(kCompletion, kComplete);
  EXPECT_EQ(response.status, 500);
  EXPECT_THAT(response.body, HasSubstr("InternalServerError"));
}

TEST_F(AnswersTest, generate_takes_and_gives_tokens) {
  start();
  const Json body = {{"request_id", "mine"}, {"token_ids", {1, 2, 3}},
                     {"sampling_params", {{"temperature", 0}, {"max_tokens", 4}, {"logprobs", 2}, {"prompt_logprobs", 1}}}};
  const Json answer = whole(kGenerate, body);
  EXPECT_EQ(answer["request_id"], "mine");
  EXPECT_EQ(answer["output_mode"], "tokens");
  EXPECT_EQ(answer["prompt_logprobs"].size(), 3u);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 4);
  const Json& choice = answer["choices"][0];
  EXPECT_FALSE(choice.contains("text"));
  EXPECT_EQ(choice["token_ids"].size(), 4u);
  EXPECT_EQ(choice["finish_reason"], "length");
  EXPECT_EQ(choice["logprobs"]["content"][0]["token_id"], choice["token_ids"][0]);
  EXPECT_EQ(choice["logprobs"]["content"][0]["rank"], 1);
  const auto events = streamed(kGenerate, body);
  EXPECT_EQ(told(events).tokens, choice["token_ids"]);
  EXPECT_EQ(told(events).logprobs, choice["logprobs"]["content"]);
}

TEST_F(AnswersTest, a_rendered_request_can_be_generated) {
  start();
  const Json chat = whole(kChat, with(kAsk, {{"return_token_ids", true}}));
  const Json rendered = whole(kChat + "/render", kAsk);
  EXPECT_EQ(rendered["token_ids"], chat["prompt_token_ids"]);
  EXPECT_EQ(whole(kGenerate, rendered)["choices"][0]["token_ids"], chat["choices"][0]["token_ids"]);
  const Json many = whole(kCompletion + "/render", with(kComplete, {{"prompt", {"ab", "c"}}}));
  ASSERT_EQ(many.size(), 2u);
  EXPECT_EQ(many[1]["token_ids"], Json({2}));
}

TEST_F(AnswersTest, prompts_are_truncated_at_the_side_that_was_named) {
  start();
  const auto prompt = [&](const Json& more) {
    return whole(kCompletion, with(with(kComplete, {{"return_token_ids", true}}), more))["choices"][0]["prompt_token_ids"];
  };
  EXPECT_EQ(prompt({{"truncate_prompt_tokens", 2}}), Json({11, 14}));
  EXPECT_EQ(prompt({{"truncate_prompt_tokens", 2}, {"truncation_side", "right"}}), Json({7, 4}));
  EXPECT_EQ(prompt({{"prompt", std::string(300, 'a')}, {"truncate_prompt_tokens", -1}}).size(), 188u);
}

TEST_F(AnswersTest, token_ids_outside_the_vocabulary_are_refused_by_name) {
  start();
  for (const Json& more : {Json{{"stop_token_ids", {64}}}, Json{{"allowed_token_ids", {-1}}}, Json{{"logit_bias", {{"64", 1}}}}}) {
    const auto response = post(kCompletion, with(kComplete, more));
    EXPECT_EQ(response.status, 400);
    EXPECT_EQ(Json::parse(response.body)["error"]["param"], more.begin().key());
  }
}

TEST_F(AnswersTest, ARequestMayBePinnedToARankThatExists) {
  start();
  for (const auto& [path, body] : {std::pair{kChat, kAsk}, {kCompletion, kComplete}}) {
    EXPECT_EQ(post(path, body, {{"X-data-parallel-rank", "0"}}).status, 200);
    const auto beyond = post(path, body, {{"x-data-parallel-rank", "3"}});
    EXPECT_EQ(beyond.status, 400);
    EXPECT_THAT(beyond.body, HasSubstr("data_parallel_rank 3 does not exist; there is rank 0 only"));
    for (const char* bad : {"-1", "one", "1.5", "99999999999"}) {
      const auto refused = post(path, body, {{"X-data-parallel-rank", bad}});
      EXPECT_EQ(refused.status, 400);
      EXPECT_THAT(refused.body, HasSubstr("X-data-parallel-rank: '" + std::string(bad) + "' is not the number of a rank"));
    }
  }
}

}  // namespace
}  // namespace braid::serve
