// SPDX-License-Identifier: Apache-2.0
// Where endpoints come from and what is known of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <future>

#include "gateway/discovery.h"
#include "gateway/endpoint_list.h"
#include "gateway/endpoint_pool.h"
#include "gateway/metrics_page.h"
#include "gateway/scraper.h"
#include "gateway/testing/fake_engine.h"

namespace braid::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using router::Endpoint;

TEST(EndpointList, ReadsRanksAndLabels) {
  const auto list = parse_endpoint_list({"10.0.0.1:8000,b:1@2", "[fd00::1]:3;role=prefill;zone=x"});
  ASSERT_TRUE(list.ok()) << list.error().message;
  ASSERT_EQ(list->size(), 3u);
  EXPECT_EQ((*list)[0].id, (router::EndpointId{"10.0.0.1:8000", "10.0.0.1", 8000, 0}));
  EXPECT_EQ((*list)[1].id, (router::EndpointId{"b:1-rank-2", "b", 1, 2}));
  EXPECT_EQ((*list)[1].label(kSharedPortLabel), "true");
  EXPECT_EQ((*list)[2].id, (router::EndpointId{"[fd00::1]:3", "fd00::1", 3, 0}));
  EXPECT_EQ((*list)[2].label("llm-d.ai/role"), "prefill");
  EXPECT_EQ((*list)[2].label("zone"), "x");
}

TEST(EndpointList, SaysWhatIsWrong) {
  for (const char* bad : {"a", "a:0", "a:70000", ":1", "a:b", "fd00::1:3", "a:1@x", "a:1;role", "a:1,a:1", "a b:1"}) {
    EXPECT_FALSE(parse_endpoint_list({bad}).ok()) << bad;
  }
  EXPECT_THAT(parse_endpoint_list({"a"}).error().message, HasSubstr("'a' is not host:port; write"));
}

TEST(EndpointFile, ReadsTheSchemaOfFileDiscovery) {
  const auto list = parse_endpoint_file(
      "endpoints:\n- name: pod-rank-1\n  namespace: ns\n  address: 10.0.0.1\n  port: \"8001\"\n  labels:\n    llm-d.ai/role: decode\n- address: 10.0.0.2\n  port: 8000\n", "f");
  ASSERT_TRUE(list.ok()) << list.error().message;
  EXPECT_EQ((*list)[0].id, (router::EndpointId{"ns/pod-rank-1", "10.0.0.1", 8001, 1}));
  EXPECT_EQ((*list)[0].label("llm-d.ai/role"), "decode");
  EXPECT_EQ((*list)[1].id.name, "10.0.0.2:8000");
  for (const char* bad : {"a: 1", "endpoints: 3", "endpoints:\n- address: a\n", "endpoints:\n- {address: a, port: 1, extra: 2}\n", "endpoints:\n- {address: a, port: 0}\n"}) {
    EXPECT_FALSE(parse_endpoint_file(bad, "f").ok()) << bad;
  }
}

std::vector<std::string> names(std::span<const Endpoint> endpoints) {
  std::vector<std::string> out;
  for (const Endpoint& endpoint : endpoints) out.push_back(endpoint.id.name);
  return out;
}

TEST(EndpointPool, EndpointsAreUsableOnceTheyAnswerAndKeepTheirState) {
  std::vector<std::string> removed;
  EndpointPool pool([&](const std::string& name) { removed.push_back(name); });
  pool.replace("list", *parse_endpoint_list({"a:1,b:1"}));
  EXPECT_TRUE(pool.usable().empty());
  pool.set_alive("a:1", true);
  pool.set_alive("b:1", true);
  pool.find("a:1")->state.waiting = 3;
  pool.replace("file", *parse_endpoint_list({"a:1,c:1"}));
  pool.replace("list", *parse_endpoint_list({"a:1;role=decode"}));
  EXPECT_THAT(removed, ElementsAre("b:1"));
  EXPECT_THAT(names(pool.usable()), ElementsAre("a:1"));
  EXPECT_THAT(names(pool.dead()), ElementsAre("c:1"));
  EXPECT_EQ(pool.find("a:1")->state.waiting, 3);
  EXPECT_EQ(pool.find("a:1")->label("llm-d.ai/role"), "decode");
  pool.set_alive("a:1", false);
  EXPECT_TRUE(pool.usable().empty());
}

TEST(EndpointPool, AnEndpointWithAnotherAddressIsAnother) {
  std::vector<std::string> removed;
  EndpointPool pool([&](const std::string& name) { removed.push_back(name); });
  Endpoint endpoint = parse_endpoint_list({"a:1"})->front();
  endpoint.id.name = "pod";
  pool.replace("file", {endpoint});
  const router::EndpointId before = endpoint.id;
  EXPECT_TRUE(pool.has(before));
  endpoint.id.port = 2;
  pool.replace("file", {endpoint});
  EXPECT_THAT(removed, ElementsAre("pod"));
  EXPECT_FALSE(pool.has(before));
  EXPECT_TRUE(pool.has(endpoint.id));
}

constexpr const char* kPage = R"(# HELP vllm:num_requests_waiting Waiting
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="1",model_name="m"} 4.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 100.0
vllm:num_requests_running{engine="0",model_name="a \"} b"} 5.0
vllm:num_requests_running{engine="1",model_name="m"} 6.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
vllm:lora_requests_info{max_lora="4",running_lora_adapters="old",waiting_lora_adapters=""} 1.0
vllm:lora_requests_info{max_lora="4",running_lora_adapters="x, y",waiting_lora_adapters="z"} 2.0
vllm:cache_config_info{block_size="16",num_gpu_blocks="1000"} 1.0
vllm:e2e{le="1",kind="k"} 7.0
process_start_time_seconds 1234.5
)";

TEST(MetricsPage, SumsOverEnginesOrTakesOneRank) {
  PageOptions options{.engine = *engine_metrics("vllm"), .custom = {{"mine", *parse_metric_spec("vllm:e2e{kind=k}")}}};
  router::EndpointState state;
  const PageFacts facts = read_page(kPage, options, state);
  EXPECT_TRUE(facts.told);
  EXPECT_EQ(facts.started, 1234.5);
  EXPECT_EQ(state.waiting, 7);
  EXPECT_EQ(state.running, 11);
  EXPECT_EQ(state.kv_usage, 0.5);
  EXPECT_THAT(state.active_adapters, ElementsAre("x", "y"));
  EXPECT_THAT(state.waiting_adapters, ElementsAre("z"));
  EXPECT_EQ(state.max_adapters, 4);
  EXPECT_EQ(state.block_size, 16);
  EXPECT_EQ(state.num_blocks, 1000);
  EXPECT_EQ(state.attributes.at("mine"), 7);
  options.rank = 1;
  read_page(kPage, options, state);
  EXPECT_EQ(state.waiting, 4);
  EXPECT_EQ(state.kv_usage, 0.75);
}

TEST(MetricsPage, KnowsOtherEngines) {
  router::EndpointState state;
  read_page("sglang:num_queue_reqs{a=\"b\"} 2\nsglang:num_running_reqs 3\nsglang:token_usage 0.5\nsglang:cache_config_info{page_size=\"64\",num_pages=\"9\"} 1\n",
            {.engine = *engine_metrics("sglang")}, state);
  EXPECT_EQ(state.waiting, 2);
  EXPECT_EQ(state.block_size, 64);
  router::EndpointState other;
  const EngineMetrics trtllm = *engine_metrics("trtllm-serve");
  EXPECT_EQ(trtllm.path, "/prometheus/metrics");
  read_page("trtllm_num_requests_waiting 1\ntrtllm_kv_cache_tokens_per_block 32\ntrtllm_kv_cache_max_blocks 77\n", {.engine = trtllm}, other);
  EXPECT_EQ(other.waiting, 1);
  EXPECT_EQ(other.block_size, 32);
  EXPECT_EQ(other.num_blocks, 77);
  EXPECT_FALSE(engine_metrics("abacus").has_value());
}

TEST(MetricsPage, WhatIsNotToldStaysAndNonsenseIsPassedOver) {
  router::EndpointState state;
  state.waiting = 5;
  const PageFacts facts = read_page("vllm:num_requests_waiting\nvllm:num_requests_waiting{ 3\nvllm:num_requests_running{} nan\nvllm:kv_cache_usage_perc x",
                                    {.engine = *engine_metrics("vllm")}, state);
  EXPECT_FALSE(facts.told);
  EXPECT_EQ(state.waiting, 5);
  EXPECT_FALSE(state.running.has_value());
  for (const char* bad : {"", "{a=b}", "n{a}", "n{a=b"}) EXPECT_FALSE(parse_metric_spec(bad).ok()) << bad;
}

// A loop with all that finds endpoints and looks at them.
class ScrapingTest : public ::testing::Test {
 protected:
  void start(DiscoveryOptions discovery) {
    loop_->run_and_wait([&] {
      upstream_ = net::ClientPool::create(loop_);
      scraper_ = std::make_unique<Scraper>(*loop_, *upstream_, pool_, metrics_, ScraperOptions{.interval = std::chrono::milliseconds(1)},
                                           Scraper::Hooks{.on_change = [] {}, .on_restart = [this](const std::string& name) { restarted_.push_back(name); }});
      auto started = Discovery::start(*loop_, pool_, std::move(discovery), [this] { scraper_->sync(); });
      ASSERT_TRUE(started.ok()) << started.error().message;
      discovery_ = std::move(*started);
      scraper_->sync();
    });
  }
  void TearDown() override {
    loop_->run_and_wait([this] {
      scraper_.reset();
      discovery_.reset();
      upstream_.reset();
    });
  }
  bool on_loop(const std::function<bool()>& question) {
    bool answer = false;
    loop_->run_and_wait([&] { answer = question(); });
    return answer;
  }
  bool eventually(const std::function<bool()>& question) {
    return testing::eventually([&] { return on_loop(question); });
  }

  const std::shared_ptr<net::EventLoop> loop_ = std::make_shared<net::EventLoop>("test-loop");
  std::vector<std::string> removed_, restarted_;
  EndpointPool pool_{[this](const std::string& name) { removed_.push_back(name); }};
  Metrics metrics_;
  std::unique_ptr<net::ClientPool> upstream_;
  std::unique_ptr<Scraper> scraper_;
  std::unique_ptr<Discovery> discovery_;
};

TEST_F(ScrapingTest, StatesFollowThePagesAndLastValuesStay) {
  testing::FakeEngine engine("a");
  engine.set_metrics("vllm:num_requests_waiting 1\nprocess_start_time_seconds 5\n");
  start({.list = {engine.address()}});
  EXPECT_TRUE(eventually([&] { return pool_.usable().size() == 1 && pool_.usable()[0].state.waiting == 1; }));
  engine.set_metrics("vllm:num_requests_waiting 2\nprocess_start_time_seconds 6\n");
  EXPECT_TRUE(eventually([&] { return pool_.usable()[0].state.waiting == 2; }));
  EXPECT_TRUE(on_loop([&] { return restarted_ == std::vector<std::string>{engine.address()}; }));
  engine.die();
  EXPECT_TRUE(eventually([&] { return pool_.dead().size() == 1; }));
  EXPECT_TRUE(on_loop([&] { return pool_.dead()[0].state.waiting == 2; }));
  engine.come_back();
  EXPECT_TRUE(eventually([&] { return pool_.usable().size() == 1; }));
}

TEST_F(ScrapingTest, AFileIsReadAgainWhenItChangesAndKeptWhenItIsBroken) {
  testing::FakeEngine a("a"), b("b");
  const auto file = std::filesystem::temp_directory_path() / ("endpoints-" + std::to_string(a.port()) + ".yaml");
  const auto entry = [](const testing::FakeEngine& e) { return "- {address: 127.0.0.1, port: " + std::to_string(e.port()) + "}\n"; };
  const auto write = [&](const std::string& text) {
    std::ofstream(file.string() + ".new") << text;
    std::filesystem::rename(file.string() + ".new", file);
  };
  write("endpoints:\n" + entry(a));
  start({.file = file, .file_interval = std::chrono::milliseconds(1)});
  EXPECT_TRUE(eventually([&] { return pool_.usable().size() == 1; }));
  write("endpoints: broken\n");
  write("endpoints:\n" + entry(b) + "# changed\n");
  EXPECT_TRUE(eventually([&] { return removed_ == std::vector<std::string>{a.address()} && pool_.usable().size() == 1; }));
  EXPECT_TRUE(on_loop([&] { return pool_.usable()[0].id.port == b.port(); }));
  std::filesystem::remove(file);
}

TEST_F(ScrapingTest, NamesAreLookedUp) {
  testing::FakeEngine engine("a");
  start({.names = {"localhost:" + std::to_string(engine.port()) + ";role=decode"}});
  EXPECT_TRUE(eventually([&] { return pool_.find(engine.address()) != nullptr && pool_.usable().size() >= 1; }));
  EXPECT_TRUE(on_loop([&] { return pool_.find(engine.address())->label("llm-d.ai/role") == "decode"; }));
}

TEST_F(ScrapingTest, RanksBehindOnePortAreReadFromOnePage) {
  testing::FakeEngine engine("a");
  engine.set_metrics("vllm:num_requests_waiting{engine=\"0\"} 1\nvllm:num_requests_waiting{engine=\"1\"} 2\n");
  start({.list = {engine.address() + "@0", engine.address() + "@1"}});
  EXPECT_TRUE(eventually([&] { return pool_.usable().size() == 2; }));
  EXPECT_TRUE(on_loop([&] { return pool_.find(engine.address() + "-rank-0")->state.waiting == 1 && pool_.find(engine.address() + "-rank-1")->state.waiting == 2; }));
}

}  // namespace
}  // namespace braid::gateway
