// SPDX-License-Identifier: Apache-2.0
// /v1/responses over a model that babbles.
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "serve/testing/babbling_fixture.h"

namespace braid::serve {
namespace {

using Json = nlohmann::ordered_json;

class ResponsesTest : public testing::BabblingFixture {
 protected:
  Json ask(Json fields, int status = 200) {
    Json body = {{"input", "x"}, {"max_output_tokens", 12}, {"ignore_eos", true}, {"seed", 3}};
    body.update(fields);
    const auto response = post("/v1/responses", body);
    EXPECT_EQ(response.status, status) << response.body;
    return Json::parse(response.body);
  }
  std::vector<Json> stream(Json fields) {
    Json body = {{"input", "x"}, {"max_output_tokens", 12}, {"ignore_eos", true}, {"seed", 3}, {"stream", true}};
    body.update(fields);
    return events(post("/v1/responses", body).body);
  }
  // What GET gives as soon as it is as wanted.
  template <class Wanted>
  Json eventually(const std::string& path, const Wanted& wanted) {
    const TimePoint deadline = std::chrono::steady_clock::now() + testing::kPatience;
    for (;;) {
      const Json body = Json::parse(fetch({.method = "GET", .target = path}).body);
      if (wanted(body) || std::chrono::steady_clock::now() > deadline) return body;
    }
  }
  // The kinds of events, each once where it repeats.
  static std::string order(const std::vector<Json>& events) {
    std::string all, last;
    std::int64_t number = 0;
    for (const Json& event : events) {
      EXPECT_EQ(event["sequence_number"], number++);
      const std::string type = event["type"].get<std::string>().substr(9);  // behind "response."
      if (type != last) all += (all.empty() ? "" : " ") + type;
      last = type;
    }
    return all;
  }
};

const Json kTools = Json::parse(R"([{"type":"function","name":"count","parameters":{"type":"object","additionalProperties":false,
  "properties":{"n":{"type":"integer","minimum":0,"maximum":99}},"required":["n"]}}])");

TEST_F(ResponsesTest, a_text_is_one_message) {
  start();
  const Json whole = ask({{"instructions", "be brief"}, {"metadata", {{"a", "b"}}}});
  EXPECT_EQ(whole["object"], "response");
  EXPECT_EQ(whole["status"], "incomplete");
  EXPECT_EQ(whole["incomplete_details"]["reason"], "max_output_tokens");
  EXPECT_EQ(whole["instructions"], "be brief");
  EXPECT_EQ(whole["metadata"]["a"], "b");
  ASSERT_EQ(whole["output"].size(), 1u);
  EXPECT_EQ(whole["output"][0]["type"], "message");
  EXPECT_EQ(whole["output"][0]["content"][0]["type"], "output_text");
  EXPECT_EQ(whole["usage"]["output_tokens"], 12);
}

TEST_F(ResponsesTest, a_stream_tells_the_same_in_the_official_order) {
  start();
  const std::vector<Json> all = stream(Json::object());
  EXPECT_EQ(order(all), "created in_progress output_item.added content_part.added output_text.delta output_text.done content_part.done output_item.done incomplete");
  std::string text;
  for (const Json& event : all) text += event["type"] == "response.output_text.delta" ? event["delta"].get<std::string>() : "";
  EXPECT_EQ(text, ask(Json::object())["output"][0]["content"][0]["text"]);
  EXPECT_EQ(all.back()["response"]["output"][0]["content"][0]["text"], text);
}

TEST_F(ResponsesTest, a_required_tool_is_an_item_of_its_own) {
  Settings settings;
  settings.tool_call_parser = "hermes";
  settings.enable_auto_tool_choice = true;
  start(settings);
  const Json fields = {{"tools", kTools}, {"tool_choice", "required"}, {"parallel_tool_calls", false}, {"max_output_tokens", 200}, {"ignore_eos", false}};
  const Json whole = ask(fields);
  ASSERT_EQ(whole["output"].size(), 1u) << whole;
  EXPECT_EQ(whole["status"], "completed");
  const Json& call = whole["output"][0];
  EXPECT_EQ(call["type"], "function_call");
  EXPECT_EQ(call["name"], "count");
  EXPECT_TRUE(Json::parse(call["arguments"].get<std::string>())["n"].is_number());
  const std::vector<Json> all = stream(fields);
  EXPECT_EQ(order(all), "created in_progress output_item.added function_call_arguments.delta function_call_arguments.done output_item.done completed");
  EXPECT_EQ(all.back()["response"]["output"][0]["arguments"], call["arguments"]);
}

TEST_F(ResponsesTest, reasoning_is_an_item_in_front) {
  Settings settings;
  settings.reasoning_parser = "deepseek_r1";
  start(settings, std::string(kTemplate) + "<think>");
  const Json schema = {{"format", {{"type", "json_schema"}, {"name", "n"}, {"schema", {{"enum", {"red"}}}}}}};
  const Json fields = {{"thinking_token_budget", 4}, {"text", schema}, {"max_output_tokens", 60}, {"ignore_eos", false}};
  const Json whole = ask(fields);
  ASSERT_EQ(whole["output"].size(), 2u) << whole;
  EXPECT_EQ(whole["output"][0]["type"], "reasoning");
  EXPECT_EQ(whole["output"][0]["content"][0]["type"], "reasoning_text");
  EXPECT_EQ(whole["output"][1]["content"][0]["text"], "\"red\"");
  EXPECT_GT(whole["usage"]["output_tokens_details"]["reasoning_tokens"], 0);
  EXPECT_EQ(order(stream(fields)),
            "created in_progress output_item.added content_part.added reasoning_text.delta reasoning_text.done content_part.done output_item.done "
            "output_item.added content_part.added output_text.delta output_text.done content_part.done output_item.done completed");
}

TEST_F(ResponsesTest, a_conversation_goes_on_from_what_is_stored) {
  start();
  const Json first = ask(Json::object());
  const std::string id = first["id"];
  EXPECT_EQ(Json::parse(fetch({.method = "GET", .target = "/v1/responses/" + id}).body), first);
  const Json second = ask({{"previous_response_id", id}, {"store", false}});
  EXPECT_EQ(second["previous_response_id"], id);
  EXPECT_GT(second["usage"]["input_tokens"], first["usage"]["input_tokens"]);
  EXPECT_EQ(fetch({.method = "GET", .target = "/v1/responses/" + second["id"].get<std::string>()}).status, 404) << "it was not to be stored";
  EXPECT_EQ(post("/v1/responses/" + id + "/cancel", Json::object()).status, 400);
  EXPECT_EQ(fetch({.method = "DELETE", .target = "/v1/responses/" + id}).status, 200);
  EXPECT_EQ(ask({{"previous_response_id", id}}, 404)["error"]["param"], "previous_response_id");
}

TEST_F(ResponsesTest, one_in_the_background_is_asked_for_until_it_is_complete) {
  start();
  const Json queued = ask({{"background", true}});
  EXPECT_EQ(queued["status"], "queued");
  EXPECT_EQ(queued["background"], true);
  EXPECT_TRUE(queued["output"].empty());
  const std::string path = "/v1/responses/" + queued["id"].get<std::string>();
  const auto answer = eventually(path, [](const Json& body) { return body["status"] != "in_progress"; });
  EXPECT_EQ(answer["status"], "incomplete");
  EXPECT_EQ(answer["incomplete_details"]["reason"], "max_output_tokens");
  EXPECT_EQ(answer["output"][0]["content"][0]["text"], ask(Json::object())["output"][0]["content"][0]["text"]);
  EXPECT_EQ(ask({{"previous_response_id", queued["id"]}})["previous_response_id"], queued["id"]);
  EXPECT_EQ(post(path + "/cancel", Json::object()).status, 400) << "it is complete";
}

TEST_F(ResponsesTest, one_in_the_background_can_be_cancelled_and_deleted) {
  std::mutex mutex;
  std::condition_variable changed;
  bool held = true;  // the model computes nothing yet
  before_step_ = [&] {
    std::unique_lock lock(mutex);
    changed.wait_for(lock, testing::kPatience, [&] { return !held; });
  };
  start();
  const Json fields = {{"background", true}};
  const std::string id = ask(fields)["id"], path = "/v1/responses/" + id;
  EXPECT_EQ(ask({{"previous_response_id", id}}, 404)["error"]["param"], "previous_response_id") << "it is not complete";
  const Json cancelled = Json::parse(post(path + "/cancel", Json::object()).body);
  EXPECT_EQ(cancelled["status"], "cancelled");
  EXPECT_EQ(Json::parse(fetch({.method = "GET", .target = path}).body), cancelled);
  EXPECT_EQ(Json::parse(post(path + "/cancel", Json::object()).body), cancelled) << "again";
  const std::string other = "/v1/responses/" + ask(fields)["id"].get<std::string>();
  EXPECT_EQ(fetch({.method = "DELETE", .target = other}).status, 200);
  EXPECT_EQ(fetch({.method = "GET", .target = other}).status, 404);
  EXPECT_EQ(post(other + "/cancel", Json::object()).status, 404);
  {
    std::lock_guard lock(mutex);
    held = false;
  }
  changed.notify_all();
  EXPECT_EQ(ask(Json::object())["status"], "incomplete") << "others go on";
  EXPECT_EQ(Json::parse(fetch({.method = "GET", .target = path}).body)["status"], "cancelled");
}

TEST_F(ResponsesTest, what_it_cannot_do_is_refused) {
  start();
  EXPECT_EQ(ask({{"background", true}, {"store", false}}, 400)["error"]["param"], "background");
  EXPECT_EQ(ask({{"background", true}, {"stream", true}}, 400)["error"]["param"], "stream");
  EXPECT_EQ(ask({{"input", 5}}, 400)["error"]["type"], "Bad Request");
  EXPECT_EQ(fetch({.method = "PUT", .target = "/v1/responses/x"}).status, 405);
}

}  // namespace
}  // namespace braid::serve
