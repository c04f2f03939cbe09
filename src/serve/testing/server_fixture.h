// SPDX-License-Identifier: Apache-2.0
// For tests of the layer: a server on port 0 over an engine with a fake model, and a client of it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "engine/testing/fake_model.h"
#include "net/http_client.h"
#include "serve/server.h"

namespace braid::serve::testing {

inline constexpr Duration kPatience = std::chrono::seconds(60);

class ServerFixture : public ::testing::Test {
 protected:
  struct Options {
    engine::testing::FakeModelOptions model;
    engine::Vocabulary vocabulary;  // its size is the model's
    std::shared_ptr<const text::Tokenizer> tokenizer;
    std::shared_ptr<const text::ChatTemplate> chat_template;
    int max_model_len = 800;
    Settings settings;
  };

  void start(Options o) {
    engine::Settings limits;
    limits.cache.num_blocks_override = 200;
    limits.cache.block_size = 4;
    limits.scheduler.max_model_len = o.max_model_len;
    o.vocabulary.size = o.model.vocabulary;
    engine_ = engine::start(std::make_unique<engine::testing::FakeModel>(o.model), o.vocabulary, limits, metrics_, clock_).value();
    Parts parts;
    parts.engine = engine_.get();
    parts.tokenizer = std::move(o.tokenizer);
    parts.chat_template = std::move(o.chat_template);
    parts.model_path = "fake";
    parts.eos_ids = o.vocabulary.eos_ids;
    parts.metrics_text = [] { return std::string(); };
    o.settings.host = "127.0.0.1";
    o.settings.port = 0;
    auto server = Server::start(std::move(parts), o.settings);
    ASSERT_TRUE(server.ok()) << server.error().message;
    server_ = std::move(*server);
    client_ = net::HttpClient::create("127.0.0.1", server_->port());
  }
  void TearDown() override {
    if (server_) server_->drain(kPatience);
  }

  net::ClientResponse fetch(net::ClientRequest request) {
    auto got = client_->fetch(std::move(request));
    EXPECT_TRUE(got.ok()) << got.error().message;
    return got.ok() ? *got : net::ClientResponse{};
  }

  engine::Metrics metrics_;
  SteadyClock clock_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<net::HttpClient> client_;
};

}  // namespace braid::serve::testing
