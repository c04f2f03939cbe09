// SPDX-License-Identifier: Apache-2.0
// What is read from answers and changed in them: usage, names, transfer parameters, token ids.
#include <gtest/gtest.h>

#include "gateway/answer_rewriter.h"
#include "gateway/headers.h"
#include "gateway/token_ids.h"
#include "gateway/transfer_bodies.h"
#include "gateway/usage.h"

namespace braid::gateway {
namespace {

TEST(AnswerRewriter, GivesTheSameWhateverTheCuts) {
  const std::string text = "data: {\"model\":\"m\",\"text\":\"say \\\"model\\\"\"}\n\ndata: {\"model\": \"m\",\"usage\":{\"cached_tokens\": 12}}\n\ndata: [DONE]\n\n";
  const std::string wanted = "data: {\"model\":\"alias\",\"text\":\"say \\\"model\\\"\"}\n\ndata: {\"model\":\"alias\",\"usage\":{\"cached_tokens\": 3}}\n\ndata: [DONE]\n\n";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    AnswerRewriter rewriter({.model_from = "m", .model_to = "alias", .cached_tokens = 3});
    std::string got = rewriter.feed(text.substr(0, cut));
    got += rewriter.feed(text.substr(cut));
    EXPECT_EQ(got + rewriter.finish(), wanted) << cut;
  }
}

TEST(AnswerRewriter, AnAnswerOfOneLineIsChangedAtItsEnd) {
  AnswerRewriter rewriter({.cached_tokens = 0});
  EXPECT_EQ(rewriter.feed("{\"cached_tokens\":7}"), "");
  EXPECT_EQ(rewriter.finish(), "{\"cached_tokens\":0}");
}

TEST(UsageReader, CountsEventsAndFindsTheLastUsage) {
  UsageReader reader;
  EXPECT_EQ(reader.feed("data: {\"a\":1}\n\ndata: {\"usage\":{\"prompt_tokens\":1}}\n\n"), 2);
  EXPECT_EQ(reader.feed(std::string(5000, 'x')), 0);
  EXPECT_EQ(reader.feed("data: {\"usage\": {\"prompt_tokens\": 30, \"completion_tokens\": 20, \"prompt_tokens_det"), 1);
  EXPECT_EQ(reader.feed("ails\":{\"cached_tokens\":16}}}\n\ndata: [DONE]\n\n"), 1);
  const Usage usage = reader.usage();
  EXPECT_EQ(usage.prompt_tokens, 30);
  EXPECT_EQ(usage.output_tokens, 20);
  EXPECT_EQ(usage.cached_tokens, 16);
}

TEST(UsageReader, KnowsTheOtherNames) {
  UsageReader reader;
  reader.feed("{\"usage\":{\"input_tokens\":3,\"output_tokens\":4}}");
  EXPECT_EQ(reader.usage().prompt_tokens, 3);
  EXPECT_EQ(reader.usage().output_tokens, 4);
}

constexpr const char* kAsk =
    R"("kv_transfer_params":{"do_remote_decode":true,"do_remote_prefill":false,"remote_engine_id":null,"remote_block_ids":null,"remote_host":null,"remote_port":null})";

TEST(TransferBodies, EveryLimitIsOneForThePrefill) {
  const auto body = [](const char* path, const char* text) { return *prefill_body(path, text, false); };
  const std::string asked(kAsk);
  EXPECT_EQ(body("/v1/completions", R"({"stream":true,"stream_options":{},"min_tokens":4})"),
            R"({"stream":false,"min_tokens":1,)" + asked + R"(,"max_tokens":1})");
  EXPECT_EQ(body("/v1/chat/completions", R"({"max_completion_tokens":9})"), R"({"max_completion_tokens":1,)" + asked + R"(,"stream":false,"max_tokens":1})");
  EXPECT_EQ(body("/v1/responses", R"({"max_output_tokens":9})"), R"({"max_output_tokens":1,)" + asked + R"(,"stream":false})");
  EXPECT_EQ(body("/inference/v1/generate", R"({"sampling_params":{"max_tokens":9,"min_tokens":2,"top_k":3}})"),
            R"({"sampling_params":{"max_tokens":1,"min_tokens":1,"top_k":3},)" + asked + R"(,"stream":false})");
  EXPECT_EQ(prefill_body("/v1/completions", "{}", true).value().find(R"("remote_port":null,"early":true})") != std::string::npos, true);
  EXPECT_FALSE(prefill_body("/v1/completions", "[1]", true).ok());
}

TEST(TransferBodies, ParametersTravelAsTheyCame) {
  const PrefillAnswer answer = read_prefill_answer(R"({"usage":{"prompt_tokens_details":{"cached_tokens":5}},"kv_transfer_params": {"x": [1, null]}})");
  EXPECT_EQ(answer.transfer, R"({"x": [1, null]})");
  EXPECT_EQ(answer.cached_tokens, 5);
  EXPECT_EQ(*decode_body(R"({"a":1,"kv_transfer_params":null})", answer.transfer), R"({"a":1,"kv_transfer_params":{"x": [1, null]}})");
  for (const char* none : {"{}", R"({"kv_transfer_params":null})", "nonsense"}) EXPECT_EQ(read_prefill_answer(none).transfer, "") << none;
}

TEST(TransferBodies, AnInterimAnswerBringsParametersToo) {
  const auto answer = read_early_answer({{"x-kv-transfer-params", R"({"a":1,"remote_cached_tokens":48})"}});
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->transfer, R"({"a":1,"remote_cached_tokens":48})");
  EXPECT_EQ(answer->cached_tokens, 48);
  EXPECT_FALSE(read_early_answer({{"link", "</a>"}}));
  EXPECT_FALSE(read_early_answer({{"x-kv-transfer-params", "[1]"}}));
}

TEST(TokenIds, AreTheFirstListOfThatName) {
  EXPECT_EQ(token_ids_in(R"([{"token_ids": [1, 22,333], "x": [4]}])"), (std::vector<std::int32_t>{1, 22, 333}));
  EXPECT_TRUE(token_ids_in(R"({"token_ids":null})").empty());
  EXPECT_TRUE(token_ids_in("").empty());
}

TEST(Headers, OfOneConnectionEndThere) {
  net::Request request;
  request.peer = "10.0.0.9";
  request.headers = {{"Host", "h"}, {"Content-Length", "3"}, {"Connection", "keep-alive, X-Mine"}, {"x-mine", "1"},
                     {"X-Forwarded-For", "10.0.0.1"}, {"X-Gateway-Destination-Endpoint", "a"}, {"Accept", "b"}};
  EXPECT_EQ(from_client(request), (router::HeaderList{{"accept", "b"}, {"x-forwarded-for", "10.0.0.1, 10.0.0.9"}}));
}

}  // namespace
}  // namespace braid::gateway
