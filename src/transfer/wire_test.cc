// SPDX-License-Identifier: Apache-2.0
#include "transfer/wire.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "transfer/settings.h"

namespace braid::transfer {
namespace {

using testing::HasSubstr;

TEST(Params, what_a_lender_answers_a_reader_can_ask_for) {
  const Offer offer{{"engine", "incarnation", "10.0.0.1", 5600, "id"}, {4, 5}, 20, 7, 16, "bfloat16", 1e9};
  const auto json = nlohmann::json::parse(to_json(offer));
  EXPECT_EQ(json["remote_block_ids"], nlohmann::json::parse("[[4, 5]]"));
  EXPECT_EQ(json["do_remote_decode"], false);
  EXPECT_EQ(json["tp_size"], 1);
  EXPECT_EQ(json["remote_num_tokens"], 20);
  const Params params = read_params(to_json(offer)).value();
  EXPECT_FALSE(params.hold);
  ASSERT_TRUE(params.source);
  EXPECT_EQ(params.source->where(), "10.0.0.1:5600");
  EXPECT_EQ(params.source->request_id, "id");
  EXPECT_EQ(params.source->incarnation, "incarnation");
}

TEST(Params, a_prefill_request_asks_to_hold) {
  const Params params = read_params(R"({"do_remote_decode":true,"do_remote_prefill":false,"remote_engine_id":null,
      "remote_block_ids":null,"remote_host":null,"remote_port":null})").value();
  EXPECT_TRUE(params.hold);
  EXPECT_FALSE(params.source);
  EXPECT_FALSE(params.early);
  EXPECT_TRUE(read_params(R"({"do_remote_decode":true,"early":true})").value().early);
  EXPECT_FALSE(read_params("").value().hold);
}

TEST(Params, a_source_without_its_fields_is_none_and_ports_may_be_text) {
  EXPECT_FALSE(read_params(R"({"do_remote_prefill":true,"remote_host":"a"})").value().source);
  EXPECT_FALSE(read_params(R"({"do_remote_prefill":true,"remote_engine_id":"e","remote_host":"a","remote_port":-1,"remote_request_id":"r"})").value().source);
  EXPECT_EQ(read_params(R"({"do_remote_prefill":true,"remote_engine_id":"e","remote_host":"a","remote_port":"5601","remote_request_id":"r"})").value().source->port, 5601);
  EXPECT_THAT(read_params(R"({"do_remote_decode":"yes"})").error().message, HasSubstr("do_remote_decode is \"yes\""));
  EXPECT_THAT(read_params("[]").error().message, HasSubstr("must be an object"));
}

TEST(Frames, survive_the_way) {
  Welcome w{"engine", "incarnation", {"model 1 2", 3, 128, "bfloat16", 16, 99}, std::string("shm:\0\xff:1", 8)};
  const Welcome back = read_welcome(to_json(w)).value();
  EXPECT_EQ(back.region, w.region);
  EXPECT_EQ(back.shape.bytes(), w.shape.bytes());
  EXPECT_EQ(mismatch(back.shape, w.shape), "");
  const Grant grant{"", 3, std::uint64_t{1} << 63, 20, 19, ~std::uint64_t{0}, 77, {1, 2}};
  const Grant same = read_grant(to_json(grant)).value();
  EXPECT_EQ(same.generation, grant.generation);
  EXPECT_EQ(same.digest, grant.digest);
  EXPECT_EQ(same.next, grant.next);
  EXPECT_EQ(same.blocks, grant.blocks);
  const Grant grows = read_grant(to_json({.tokens = 5, .blocks = {1}, .total = 9, .growing = true, .epoch = 2})).value();
  EXPECT_TRUE(grows.growing);
  EXPECT_EQ(grows.total, 9);
  EXPECT_EQ(grows.epoch, 2u);
  EXPECT_TRUE(read_follows(take_json("a")));
  EXPECT_FALSE(read_follows(request_json("a")));
  EXPECT_EQ(read_requests(take_json("a")), (std::vector<std::string>{"a"}));
  EXPECT_EQ(read_requests(requests_json({"a", "b"})), (std::vector<std::string>{"a", "b"}));
}

TEST(Frames, a_grant_of_an_engine_that_knows_no_growth_is_whole) {
  const Grant grant = read_grant(R"({"refused":"","word":1,"generation":2,"tokens":3,"followed":2,"digest":5,"next":-1,"blocks":[4]})").value();
  EXPECT_EQ(grant.total, 3);
  EXPECT_FALSE(grant.growing);
}

TEST(Frames, what_cannot_be_read_is_an_error) {
  EXPECT_THAT(read_welcome("{}").error().message, HasSubstr("no usable"));
  EXPECT_FALSE(read_welcome("[1").ok());
  EXPECT_FALSE(read_grant(R"({"refused":"","word":"x"})").ok());
  EXPECT_TRUE(read_requests("nonsense").empty());
  EXPECT_TRUE(read_requests(R"({"request_ids":"a"})").empty());
}

TEST(Shape, says_why_one_cannot_read_the_other) {
  const Shape a{"m", 3, 128, "bfloat16", 16, 99};
  Shape b = a;
  b.block_size = 32;
  b.blocks = 5;
  EXPECT_EQ(mismatch(a, b), "");
  b.layers = 4;
  EXPECT_THAT(mismatch(a, b), HasSubstr("--speculative-config"));
  b = a;
  b.groups = 2;
  EXPECT_THAT(mismatch(a, b), HasSubstr("--disable-hybrid-kv-cache-manager"));
  b = a;
  b.dtype = "float32";
  EXPECT_THAT(mismatch(a, b), HasSubstr("float32 there and bfloat16 here"));
}

TEST(Settings, other_hosts_need_a_secret_and_leases_a_sensible_length) {
  Settings s;
  EXPECT_TRUE(check(s).ok());
  s.kv_ip = "10.1.2.3";
  EXPECT_THAT(check(s).error().message, HasSubstr("kv_secret"));
  s.kv_secret = "word";
  EXPECT_TRUE(check(s).ok());
  s.kv_connector_extra_config.text = R"({"kv_lease_duration":2.5,"backends":["UCX"]})";
  EXPECT_EQ(lease_of(s).value(), std::chrono::milliseconds(2500));
  s.kv_connector_extra_config.text = R"({"kv_lease_duration":0})";
  EXPECT_THAT(check(s).error().message, HasSubstr("kv_lease_duration is 0"));
}

}  // namespace
}  // namespace braid::transfer
