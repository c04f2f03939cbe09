// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "kubernetes/collection.h"
#include "kubernetes/testing/stand_in.h"

namespace braid::kubernetes {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::StandIn;

constexpr const char* kPods = "/api/v1/namespaces/n/pods";

class CollectionTest : public ::testing::Test {
 protected:
  ~CollectionTest() override {
    loop_->run_and_wait([this] { collection_.reset(); });
  }
  void follow(Collection::Options options = {}) {
    options.path = kPods;
    options.first_pause = std::chrono::milliseconds(1);
    options.longest_pause = std::chrono::milliseconds(20);
    loop_->run_and_wait([&] {
      collection_ = std::make_unique<Collection>(*loop_, server_.address(), options,
                                                 Collection::Hooks{[this](const auto& objects) { names_ = names_of(objects); },
                                                                   [this](const Error& error) { trouble_ = error.message; }});
    });
  }
  static std::vector<std::string> names_of(const Collection::Objects& objects) {
    std::vector<std::string> names;
    for (const auto& [name, json] : objects) names.push_back(name);
    return names;
  }
  bool becomes(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    for (bool yes = false; std::chrono::steady_clock::now() < end; std::this_thread::yield()) {
      loop_->run_and_wait([&] { yes = condition(); });
      if (yes) return true;
    }
    return false;
  }
  bool holds(std::vector<std::string> names) {
    return becomes([&] { return names_ == names; });
  }

  StandIn server_;
  const std::shared_ptr<net::EventLoop> loop_ = std::make_shared<net::EventLoop>("test");
  std::unique_ptr<Collection> collection_;
  std::vector<std::string> names_;
  std::string trouble_;
};

TEST_F(CollectionTest, ListsAndThenFollows) {
  server_.put(kPods, "a", "\"x\":1");
  follow({.labels = "app=a b,role=x"});
  ASSERT_TRUE(holds({"a"}));
  server_.put(kPods, "b", "\"x\":1");
  ASSERT_TRUE(holds({"a", "b"}));
  server_.remove(kPods, "a");
  ASSERT_TRUE(holds({"b"}));
  EXPECT_EQ(server_.lists(kPods), 1);
  EXPECT_THAT(server_.targets()[0], HasSubstr("labelSelector=app%3Da%20b%2Crole%3Dx&limit=500"));
}

TEST_F(CollectionTest, AWatchThatEndsGoesOnWhereItWas) {
  server_.put(kPods, "a", "\"x\":1");
  follow();
  ASSERT_TRUE(holds({"a"}));
  ASSERT_TRUE(becomes([&] { return server_.watches(kPods) == 1; }));
  server_.end_watches();
  server_.put(kPods, "b", "\"x\":1");
  ASSERT_TRUE(holds({"a", "b"}));
  EXPECT_EQ(server_.lists(kPods), 1);
}

TEST_F(CollectionTest, WhatIsGoneIsListedAnew) {
  server_.put(kPods, "a", "\"x\":1");
  follow();
  ASSERT_TRUE(holds({"a"}));
  ASSERT_TRUE(becomes([&] { return server_.watches(kPods) == 1; }));
  server_.die();
  server_.remove(kPods, "a");
  server_.put(kPods, "b", "\"x\":1");
  server_.compact();
  server_.come_back();
  ASSERT_TRUE(holds({"b"}));
  EXPECT_EQ(server_.lists(kPods), 2);
}

TEST_F(CollectionTest, WhatWasHeldStaysWhileTheServerIsAway) {
  server_.put(kPods, "a", "\"x\":1");
  follow();
  ASSERT_TRUE(holds({"a"}));
  server_.die();
  ASSERT_TRUE(becomes([&] { return !trouble_.empty(); }));
  EXPECT_THAT(trouble_, HasSubstr("API server 127.0.0.1"));
  ASSERT_TRUE(holds({"a"}));
  server_.come_back();
  server_.put(kPods, "b", "\"x\":1");
  ASSERT_TRUE(holds({"a", "b"}));
}

TEST_F(CollectionTest, AKindThatTheServerDoesNotKnowIsEmptyUntilItDoes) {
  follow();
  ASSERT_TRUE(becomes([&] { return collection_->known(); }));
  EXPECT_EQ(trouble_, "");
  server_.put(kPods, "a", "\"x\":1");
  ASSERT_TRUE(holds({"a"}));
}

class CredentialsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(::testing::TempDir()) / ("kube" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    return (folder_ / name).string();
  }
  std::filesystem::path folder_;
};

constexpr const char* kKubeconfig = R"(
apiVersion: v1
kind: Config
current-context: here
contexts:
- {name: there, context: {cluster: other, user: me}}
- {name: here, context: {cluster: mine, user: me, namespace: models}}
clusters:
- name: mine
  cluster: {server: "https://[fd00::1]:6443/base/", certificate-authority-data: aGVsbG8=}
users:
- name: me
  user: {tokenFile: token, client-certificate: own.crt}
)";

TEST_F(CredentialsTest, AKubeconfigSaysWhereAndWho) {
  write("own.crt", "certificate");
  write("token", "one\n");
  const auto server = from_kubeconfig(write("config", kKubeconfig));
  ASSERT_TRUE(server.ok()) << server.error().message;
  EXPECT_EQ(server->host, "fd00::1");
  EXPECT_EQ(server->port, 6443);
  EXPECT_EQ(server->base, "/base");
  EXPECT_EQ(server->authorities, "hello");
  EXPECT_EQ(server->certificate, "certificate");
  EXPECT_EQ(server->name_space, "models");
  EXPECT_EQ(token_of(*server), "one");
  write("token", "two\n");
  EXPECT_EQ(token_of(*server), "two");
}

TEST_F(CredentialsTest, WhatIsMissingIsNamed) {
  const std::pair<std::string, std::string> cases[] = {
      {"current-context: x\n", "there is no context 'x'"},
      {"current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\n", "there is no cluster 'c'"},
      {"current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: nowhere}}]\n", "'nowhere' is not https://"},
      {"current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: 'https://h'}}]\n"
       "users: [{name: u, user: {exec: {command: aws}}}]\n", "gets credentials from a program"},
  };
  for (const auto& [yaml, message] : cases) {
    const auto server = from_kubeconfig(write("config", yaml));
    ASSERT_FALSE(server.ok()) << yaml;
    EXPECT_THAT(server.error().message, HasSubstr(message));
  }
}

TEST_F(CredentialsTest, APodKnowsItsServer) {
  write("token", "pod's\n");
  write("ca.crt", "authority");
  write("namespace", "models");
  ::unsetenv("KUBERNETES_SERVICE_HOST");
  EXPECT_THAT(in_cluster(folder_.string()).error().message, HasSubstr("KUBERNETES_SERVICE_HOST"));
  ::setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1", 1);
  ::setenv("KUBERNETES_SERVICE_PORT", "443", 1);
  const auto server = in_cluster(folder_.string());
  ASSERT_TRUE(server.ok()) << server.error().message;
  EXPECT_EQ(server->host + ":" + std::to_string(server->port), "10.0.0.1:443");
  EXPECT_EQ(server->authorities, "authority");
  EXPECT_EQ(server->name_space, "models");
  EXPECT_EQ(token_of(*server), "pod's");
}

}  // namespace
}  // namespace braid::kubernetes
