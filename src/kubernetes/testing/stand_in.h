// SPDX-License-Identifier: Apache-2.0
// For tests: what an API server does about lists and watches, without TLS.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kubernetes/api_server.h"
#include "net/http_server.h"

namespace braid::kubernetes::testing {

class StandIn {
 public:
  using Writer = std::shared_ptr<net::ResponseWriter>;

  StandIn() { listen(0); }
  ~StandIn() { die(); }

  ApiServer address() const {
    ApiServer server;
    server.host = server.name = "127.0.0.1";
    server.port = port_;
    server.tls = false;
    server.token = "secret";
    return server;
  }

  // The kind exists; objects of others are 404.
  void serve(const std::string& path) {
    std::lock_guard lock(mutex_);
    kinds_[path];
  }
  // `fields` are those beside metadata: "\"spec\":{...}".
  void put(const std::string& path, const std::string& name, const std::string& fields, const std::string& metadata = "") {
    std::lock_guard lock(mutex_);
    Kind& kind = kinds_[path];
    const bool fresh = !kind.objects.contains(name);
    kind.objects[name] = object(name, fields, metadata);
    tell(kind, fresh ? "ADDED" : "MODIFIED", kind.objects[name]);
  }
  void remove(const std::string& path, const std::string& name) {
    std::lock_guard lock(mutex_);
    Kind& kind = kinds_[path];
    kind.objects.erase(name);
    tell(kind, "DELETED", object(name, "\"x\":0", ""));
  }
  // What is older can't be watched from any more.
  void compact() {
    std::lock_guard lock(mutex_);
    oldest_ = version_;
  }
  void end_watches() {
    std::lock_guard lock(mutex_);
    for (auto& [path, kind] : kinds_) {
      for (const Writer& watch : kind.watches) watch->end();
      kind.watches.clear();
    }
  }
  void die() {
    {
      std::lock_guard lock(mutex_);
      dying_ = true;  // writers are outlived by their server
      for (auto& [path, kind] : kinds_) kind.watches.clear();
    }
    server_.reset();
  }
  void come_back() {
    dying_ = false;
    listen(port_);
  }

  int lists(const std::string& path) { return counted(lists_, path); }
  int watches(const std::string& path) { return counted(watches_, path); }
  std::vector<std::string> targets() {
    std::lock_guard lock(mutex_);
    return targets_;
  }

 private:
  struct Kind {
    std::map<std::string, std::string> objects;
    std::vector<Writer> watches;
    std::vector<std::pair<int, std::string>> events;  // version, line
  };

  void listen(int port) {
    auto server = net::HttpServer::listen({.port = port}, [this](net::Request&& request, Writer writer) { handle(request, std::move(writer)); });
    ASSERT_TRUE(server.ok()) << server.error().message;
    server_ = std::move(*server);
    port_ = server_->port();
  }

  int counted(std::map<std::string, int>& counts, const std::string& path) {
    std::lock_guard lock(mutex_);
    return counts[path];
  }

  std::string object(const std::string& name, const std::string& fields, const std::string& metadata) {
    ++version_;
    return "{\"metadata\":{\"name\":\"" + name + "\",\"resourceVersion\":\"" + std::to_string(version_) + "\"" + metadata + "}," + fields + "}";
  }

  void tell(Kind& kind, const std::string& type, const std::string& json) {
    kind.events.emplace_back(version_, "{\"type\":\"" + type + "\",\"object\":" + json + "}\n");
    for (const Writer& watch : kind.watches) watch->write(kind.events.back().second);
  }

  void handle(const net::Request& request, Writer writer) {
    std::lock_guard lock(mutex_);
    if (dying_) return;
    targets_.push_back(request.target);
    const std::string path(request.path());
    const std::string query(request.query());
    if (request.header("authorization") != "Bearer secret") return writer->send({.status = 401, .body = "{\"message\":\"Unauthorized\"}"});
    const auto found = kinds_.find(path);
    if (found == kinds_.end()) return writer->send({.status = 404, .body = "{}"});
    if (query.find("watch=1") != query.npos) return watch(path, found->second, query, std::move(writer));
    ++lists_[path];
    std::string items;
    for (const auto& [name, json] : found->second.objects) {
      const bool wanted = query.find("fieldSelector") == query.npos || query.find("metadata.name%3D" + name + "&") != query.npos;
      if (wanted) items.append(items.empty() ? "" : ",").append(json);
    }
    writer->send({.body = "{\"metadata\":{\"resourceVersion\":\"" + std::to_string(version_) + "\"},\"items\":[" + items + "]}"});
  }

  void watch(const std::string& path, Kind& kind, const std::string& query, Writer writer) {
    ++watches_[path];
    const int from = std::atoi(query.c_str() + query.find("resourceVersion=") + 16);
    writer->begin({});
    if (from < oldest_) {
      writer->write("{\"type\":\"ERROR\",\"object\":{\"code\":410,\"reason\":\"Expired\"}}\n");
      return writer->end();
    }
    for (const auto& [version, line] : kind.events) {
      if (version > from) writer->write(line);
    }
    kind.watches.push_back(std::move(writer));
  }

  std::mutex mutex_;
  std::map<std::string, Kind> kinds_;
  std::map<std::string, int> lists_, watches_;
  std::vector<std::string> targets_;
  int version_ = 1;
  int oldest_ = 0;
  int port_ = 0;
  bool dying_ = false;
  std::unique_ptr<net::HttpServer> server_;
};

}  // namespace braid::kubernetes::testing
