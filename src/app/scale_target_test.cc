// SPDX-License-Identifier: Apache-2.0
#include "app/scale_target.h"

#include <gtest/gtest.h>

#include <fstream>
#include <mutex>

#include "net/http_server.h"

namespace braid::app {
namespace {

// Answers with what it is told, and keeps what it was asked.
struct Server {
  std::mutex mutex;
  std::string answer, asked, body, authorization;
  int status = 200;
  std::unique_ptr<net::HttpServer> server;

  Server() {
    auto listening = net::HttpServer::listen({}, [this](net::Request&& request, std::shared_ptr<net::ResponseWriter> writer) {
      std::lock_guard lock(mutex);
      asked = request.method + " " + request.target;
      body = request.body;
      authorization = request.header("authorization");
      writer->send({.status = status, .body = answer});
    });
    server = *std::move(listening);
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(server->port()); }
};

TEST(ScaleTarget, ReadsAndPatchesTheScaleSubresource) {
  Server api;
  api.answer = R"({"kind":"Scale","spec":{"replicas":3},"status":{"replicas":2}})";
  const auto target = scale_target("kubernetes:leaderworkersets/prod/decode", {.url = api.url(), .kubeconfig = {}});
  ASSERT_TRUE(target.ok());
  const auto replicas = (*target)->replicas();
  ASSERT_TRUE(replicas.ok()) << replicas.error().message;
  EXPECT_EQ(*replicas, 3);
  EXPECT_EQ(api.asked, "GET /apis/leaderworkerset.x-k8s.io/v1/namespaces/prod/leaderworkersets/decode/scale");
  ASSERT_TRUE((*target)->set_replicas(5).ok());
  EXPECT_EQ(api.asked, "PATCH /apis/leaderworkerset.x-k8s.io/v1/namespaces/prod/leaderworkersets/decode/scale");
  EXPECT_EQ(api.body, R"({"spec":{"replicas":5}})");
}

TEST(ScaleTarget, WithoutANamespaceItIsThatOfTheContext) {
  Server api;
  api.answer = R"({"spec":{"replicas":1}})";
  const std::string file = ::testing::TempDir() + "/scale-target-kubeconfig";
  std::ofstream(file) << R"({"current-context":"c","contexts":[{"name":"c","context":{"cluster":"k","user":"u","namespace":"mine"}}],)"
                      << R"("clusters":[{"name":"k","cluster":{"server":")" << api.url() << R"("}}],"users":[{"name":"u","user":{"token":"word"}}]})";
  const auto target = scale_target("kubernetes:deployments/engine", {.url = {}, .kubeconfig = file});
  ASSERT_TRUE(target.ok()) << target.error().message;
  EXPECT_EQ(*(*target)->replicas(), 1);
  EXPECT_EQ(api.asked, "GET /apis/apps/v1/namespaces/mine/deployments/engine/scale");
  EXPECT_EQ(api.authorization, "Bearer word");
  const auto nowhere = scale_target("kubernetes:deployments/engine", {.url = api.url(), .kubeconfig = {}});
  ASSERT_FALSE(nowhere.ok());
  EXPECT_NE(nowhere.error().message.find("names no namespace"), std::string::npos) << nowhere.error().message;
}

TEST(ScaleTarget, AsksAnElasticServerForRanks) {
  Server server;
  server.answer = "vllm:num_requests_running{engine=\"0\"} 1\nvllm:num_requests_running{engine=\"1\"} 0\n";
  const auto target = scale_target("server:" + server.url(), {});
  ASSERT_TRUE(target.ok());
  EXPECT_EQ(*(*target)->replicas(), 2);
  ASSERT_TRUE((*target)->set_replicas(4).ok());
  EXPECT_EQ(server.asked, "POST /scale_elastic_ep");
  EXPECT_EQ(server.body, R"({"new_data_parallel_size":4})");
}

TEST(ScaleTarget, TellsWhatTheServerAnsweredWhenItRefuses) {
  Server api;
  api.status = 403;
  api.answer = "forbidden";
  const auto target = scale_target("kubernetes:deployments/prod/engine", {.url = api.url(), .kubeconfig = {}});
  const Status status = (*target)->set_replicas(2);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("403: forbidden"), std::string::npos);
}

TEST(ScaleTarget, OtherTextsAreRefused) {
  for (const char* text : {"", "kubernetes:pods/a/b", "kubernetes:deployments/", "kubernetes:deployments//b", "kubernetes:pods/a", "engine"}) {
    EXPECT_FALSE(scale_target(text, {.url = "http://127.0.0.1:1", .kubeconfig = {}}).ok()) << text;
  }
}

}  // namespace
}  // namespace braid::app
