// SPDX-License-Identifier: Apache-2.0
// For tests of the layer: a server that answers as an engine would, or as the test wants.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <string>
#include <utility>
#include <vector>

#include "net/http_server.h"

namespace braid::gateway::testing {

inline constexpr Duration kPatience = std::chrono::seconds(60);

inline constexpr std::string_view kStreamed =
    "data: {\"model\":\"m\",\"choices\":[{\"text\":\"one\"}]}\n\ndata: {\"model\":\"m\",\"choices\":[{\"text\":\"two\"}]}\n\n"
    "data: {\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";

class FakeEngine {
 public:
  using Writer = std::shared_ptr<net::ResponseWriter>;
  // Answers, or leaves it to the engine: false.
  using Behaviour = std::function<bool(net::Request& request, const Writer& writer)>;

  explicit FakeEngine(std::string name, Behaviour behaviour = {}) : name_(std::move(name)), behaviour_(std::move(behaviour)) { listen(0); }
  ~FakeEngine() { die(); }

  int port() const { return port_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  void die() { server_.reset(); }
  void come_back() { listen(port_); }

  std::vector<net::Request> requests() {
    std::lock_guard lock(mutex_);
    return requests_;
  }
  void set_metrics(std::string page) {
    std::lock_guard lock(mutex_);
    page_ = std::move(page);
  }

 private:
  void listen(int port) {
    auto listening = net::HttpServer::listen({.port = port, .max_buffered_bytes = 64 << 20},
                                             [this](net::Request&& request, Writer writer) { handle(std::move(request), writer); });
    ASSERT_TRUE(listening.ok()) << listening.error().message;
    server_ = std::move(*listening);
    port_ = server_->port();
  }

  void handle(net::Request&& request, const Writer& writer) {
    if (request.path() == "/metrics") {
      std::lock_guard lock(mutex_);
      return writer->send({.content_type = "text/plain", .body = page_});
    }
    {
      std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    if (behaviour_ && behaviour_(request, writer)) return;
    if (request.body.find("\"stream\":true") != std::string::npos) {
      writer->begin({.content_type = "text/event-stream; charset=utf-8", .body = std::string(kStreamed.substr(0, 20))});
      writer->write(std::string(kStreamed.substr(20)));
      return writer->end();
    }
    writer->send({.headers = {{"x-engine", name_}}, .body = "{\"model\":\"m\",\"engine\":\"" + name_ + "\"}"});
  }

  const std::string name_;
  const Behaviour behaviour_;
  std::unique_ptr<net::HttpServer> server_;
  int port_ = 0;
  std::mutex mutex_;
  std::vector<net::Request> requests_;
  std::string page_ = "vllm:num_requests_waiting{engine=\"0\"} 0\nvllm:num_requests_running{engine=\"0\"} 0\nvllm:kv_cache_usage_perc{engine=\"0\"} 0\n";
};

// Waits until condition() is true; false: in vain.
inline bool eventually(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

}  // namespace braid::gateway::testing
