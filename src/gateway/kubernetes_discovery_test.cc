// SPDX-License-Identifier: Apache-2.0
#include "gateway/kubernetes_discovery.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/testing/fake_engine.h"
#include "kubernetes/testing/stand_in.h"

namespace braid::gateway {
namespace {

using kubernetes::testing::StandIn;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kPools = "/apis/inference.networking.k8s.io/v1/namespaces/n/inferencepools";
constexpr const char* kPods = "/api/v1/namespaces/n/pods";
constexpr const char* kObjectives = "/apis/llm-d.ai/v1alpha2/namespaces/n/inferenceobjectives";
constexpr const char* kRewrites = "/apis/llm-d.ai/v1alpha2/namespaces/n/inferencemodelrewrites";

std::string pool(const std::string& ports) {
  return "\"spec\":{\"selector\":{\"matchLabels\":{\"app\":\"vllm\"}},\"targetPorts\":[" + ports + "]}";
}
std::string pod(const std::string& ip, const std::string& ready = "True") {
  return "\"status\":{\"podIP\":\"" + ip + "\",\"conditions\":[{\"type\":\"Ready\",\"status\":\"" + ready + "\"}]}";
}
constexpr const char* kLabels = ",\"labels\":{\"llm-d.ai/role\":\"decode\"}";

std::string rewrite(const std::string& pool, const std::string& to) {
  return "\"apiVersion\":\"llm-d.ai/v1alpha2\",\"kind\":\"InferenceModelRewrite\",\"spec\":{\"poolRef\":{\"name\":\"" + pool +
         "\"},\"rules\":[{\"matches\":[{\"model\":{\"value\":\"m\"}}],\"targets\":[{\"modelRewrite\":\"" + to + "\"}]}]}";
}
std::string objective(const std::string& pool, int priority) {
  return "\"apiVersion\":\"llm-d.ai/v1alpha2\",\"kind\":\"InferenceObjective\",\"spec\":{\"poolRef\":{\"name\":\"" + pool + "\"},\"priority\":" +
         std::to_string(priority) + "}";
}

class KubernetesDiscoveryTest : public ::testing::Test {
 protected:
  KubernetesDiscoveryTest() {
    for (const char* kind : {kPools, kPods, kObjectives, kRewrites}) server_.serve(kind);
  }
  ~KubernetesDiscoveryTest() override {
    loop_->run_and_wait([this] { discovery_.reset(); });
  }
  void start() {
    KubernetesOptions options{.server = server_.address(), .pool = "p", .name_space = "n", .group = "inference.networking.k8s.io",
                              .first_pause = std::chrono::milliseconds(1), .resources = {}};
    options.resources.objectives["configured"] = 7;
    loop_->run_and_wait([&] {
      discovery_ = std::make_unique<KubernetesDiscovery>(*loop_, endpoints_, metrics_, std::move(options),
                                                         KubernetesDiscovery::Hooks{[] {}, [this](router::Resources r) { resources_ = std::move(r); }});
    });
  }
  bool becomes(const std::function<bool()>& condition) {
    return testing::eventually([&] {
      bool yes = false;
      loop_->run_and_wait([&] { yes = condition(); });
      return yes;
    });
  }
  std::vector<std::string> places() {
    std::vector<std::string> places;
    for (const router::Endpoint& e : endpoints_.dead()) places.push_back(e.id.name + "=" + e.id.host_port());
    std::sort(places.begin(), places.end());
    return places;
  }
  bool has(std::vector<std::string> places) {
    return becomes([&] { return this->places() == places; });
  }

  StandIn server_;
  const std::shared_ptr<net::EventLoop> loop_ = std::make_shared<net::EventLoop>("test");
  EndpointPool endpoints_{[](const std::string&) {}};
  Metrics metrics_;
  router::Resources resources_;
  std::unique_ptr<KubernetesDiscovery> discovery_;
};

TEST_F(KubernetesDiscoveryTest, ReadyPodsOfThePoolAreEndpointsOneForEachPort) {
  server_.put(kPools, "p", pool("{\"number\":8000},{\"number\":8001}"));
  server_.put(kPods, "a", pod("10.0.0.1"), kLabels);
  server_.put(kPods, "b", pod("10.0.0.2", "False"));
  start();
  ASSERT_TRUE(has({"a-rank-0=10.0.0.1:8000", "a-rank-1=10.0.0.1:8001"}));
  EXPECT_EQ(endpoints_.find("a-rank-1")->id.rank, 1);
  EXPECT_EQ(endpoints_.find("a-rank-1")->label("llm-d.ai/role"), "decode");
  server_.put(kPods, "b", pod("10.0.0.2"));
  ASSERT_TRUE(has({"a-rank-0=10.0.0.1:8000", "a-rank-1=10.0.0.1:8001", "b-rank-0=10.0.0.2:8000", "b-rank-1=10.0.0.2:8001"}));
  server_.put(kPods, "a", pod("10.0.0.1"), ",\"deletionTimestamp\":\"2026-01-01T00:00:00Z\"");
  server_.remove(kPods, "b");
  ASSERT_TRUE(has({}));
  EXPECT_TRUE(becomes([&] { return discovery_->missing().empty(); }));
}

TEST_F(KubernetesDiscoveryTest, AnotherPoolMeansOtherEndpoints) {
  server_.put(kPods, "a", pod("10.0.0.1"));
  start();
  ASSERT_TRUE(becomes([&] { return discovery_->missing().size() == 1; }));
  EXPECT_THAT(discovery_->missing(), ElementsAre(HasSubstr("InferencePool n/p does not exist")));
  server_.put(kPools, "p", pool("{\"number\":8000}"));
  ASSERT_TRUE(has({"a-rank-0=10.0.0.1:8000"}));
  server_.put(kPools, "p", pool("{\"number\":9000}"));
  ASSERT_TRUE(has({"a-rank-0=10.0.0.1:9000"}));
  server_.remove(kPools, "p");
  ASSERT_TRUE(has({}));
}

TEST_F(KubernetesDiscoveryTest, ObjectivesAndRewritesOfThePoolCountTheOlderFirst) {
  server_.put(kObjectives, "urgent", objective("p", 10));
  server_.put(kObjectives, "foreign", objective("q", 10));
  server_.put(kRewrites, "a", rewrite("p", "newer"), ",\"creationTimestamp\":\"2026-02-01T00:00:00Z\"");
  server_.put(kRewrites, "b", rewrite("p", "older"), ",\"creationTimestamp\":\"2026-01-01T00:00:00Z\"");
  server_.put(kRewrites, "c", "\"kind\":\"InferenceModelRewrite\",\"spec\":{\"poolRef\":{\"name\":\"p\"},\"rulez\":1}");
  start();
  ASSERT_TRUE(becomes([&] { return resources_.objectives.size() == 2 && resources_.rewrites.size() == 2; }));
  EXPECT_EQ(resources_.objectives["urgent"], 10);
  EXPECT_EQ(resources_.objectives["configured"], 7);
  EXPECT_EQ(resources_.rule_for("m")->targets[0].model, "older");
  server_.put(kObjectives, "urgent", objective("p", -1));
  server_.remove(kRewrites, "b");
  ASSERT_TRUE(becomes([&] { return resources_.objectives["urgent"] == -1 && resources_.rewrites.size() == 1; }));
  EXPECT_EQ(resources_.rule_for("m")->targets[0].model, "newer");
}

}  // namespace
}  // namespace braid::gateway
