// SPDX-License-Identifier: Apache-2.0
// For tests of the layer: a gateway on ports of its own, and a client of it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/gateway.h"
#include "gateway/testing/fake_engine.h"
#include "metrics/samples.h"
#include "net/http_client.h"

namespace braid::gateway::testing {

class GatewayFixture : public ::testing::Test {
 protected:
  // `yaml` empty: the configuration that is used when none is given.
  void start(const std::vector<std::string>& endpoints, const std::string& yaml = "") {
    settings_.endpoints = endpoints;
    settings_.http.host = "127.0.0.1";
    settings_.http.access_log = false;
    settings_.port = 0;
    settings_.refresh_metrics_interval_ms = 5;
    router::Resources resources;
    auto config = yaml.empty() ? Result<router::PickerConfig>(router::default_picker_config()) : router::parse_picker_config(yaml, "epp.yaml");
    ASSERT_TRUE(config.ok()) << config.error().message;
    ASSERT_TRUE(router::add_resources(resources, yaml, "epp.yaml").ok());
    auto started = Gateway::start(settings_, *config, std::move(resources));
    ASSERT_TRUE(started.ok()) << started.error().message;
    gateway_ = std::move(*started);
    client_ = net::HttpClient::create("127.0.0.1", gateway_->port());
  }
  // Until so many endpoints can be used.
  void wait_usable(int count) {
    ASSERT_TRUE(eventually([&] { return metric("llm_d_epp_ready_endpoints") == count; }));
  }

  net::ClientResponse fetch(net::ClientRequest request) {
    auto got = client_->fetch(std::move(request));
    EXPECT_TRUE(got.ok()) << got.error().message;
    return got.ok() ? *got : net::ClientResponse{};
  }
  double metric(std::string_view name) {
    const auto samples = metrics::Samples::parse(get("/metrics").body);
    const auto found = samples.named(name);
    return found.empty() ? -1 : found.front()->value;
  }
  net::ClientResponse get(std::string target) { return fetch({.target = std::move(target)}); }

  RouteSettings settings_;
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<net::HttpClient> client_;
};

}  // namespace braid::gateway::testing
