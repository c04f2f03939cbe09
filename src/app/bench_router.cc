// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cstdio>
#include <functional>
#include <latch>
#include <thread>

#include "app/commands.h"
#include "app/envoy_load.h"
#include "app/open_files.h"
#include "app/parse.h"
#include "app/server_process.h"
#include "config/reference.h"
#include "net/http_client.h"
#include "net/http_server.h"

namespace braid::app {
namespace {

constexpr Duration kPatience = std::chrono::seconds(60);
constexpr const char* kChunk =
    "data: {\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"text\":\" word\",\"finish_reason\":null}]}\n\n";

struct RouterBench {
  int endpoints = 16;
  int requests = 2000;
  int concurrency = 16;
  std::vector<std::string> prompts = {"200", "16384", "409600"};
  int streams = 64;
  int chunks = 200;
  int metrics_bytes = 39000;
  bool access_log = false;
  bool ext_proc = false;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("endpoints", self.endpoints, {.help = "Servers behind the router", .min = 1, .max = 256});
    v.field("requests", self.requests, {.help = "Requests for each length of prompt", .min = 1, .max = 1e7});
    v.field("concurrency", self.concurrency, {.help = "Requests at a time", .min = 1, .max = 10000});
    v.field("prompts", self.prompts, {.help = "Lengths of prompts", .unit = "bytes"});
    v.field("streams", self.streams, {.help = "Streams at a time", .min = 1, .max = 1e6});
    v.field("chunks", self.chunks, {.help = "Pieces of each stream, sent one by one", .min = 1, .max = 1e6});
    v.field("metrics-bytes", self.metrics_bytes, {.help = "Length of the servers' metrics pages", .unit = "bytes", .min = 0, .max = 1e7});
    v.field("access-log", self.access_log, {.help = "The router logs every request"});
    v.field("ext-proc", self.ext_proc, {.help = "Ask by external processing as an Envoy does, instead of going through the router"});
  }
};

// A page as an engine has it: the few metrics that count among many histogram samples.
std::string metrics_page(int bytes) {
  std::string page = "vllm:num_requests_waiting{engine=\"0\",model_name=\"m\"} 0\nvllm:num_requests_running{engine=\"0\",model_name=\"m\"} 1\n"
                     "vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"m\"} 0.5\n";
  for (int i = 0; page.size() < static_cast<std::size_t>(bytes); ++i) {
    page += "vllm:e2e_request_latency_seconds_bucket{engine=\"0\",le=\"" + std::to_string(i) + "\",model_name=\"m\"} " + std::to_string(i) + "\n";
  }
  return page;
}

// Servers on one loop that answer at once, or stream when told to.
class Engines {
 public:
  explicit Engines(const RouterBench& bench) : page_(metrics_page(bench.metrics_bytes)) {}

  Status open(int count) {
    for (int i = 0; i < count; ++i) {
      ASSIGN_OR_RETURN(auto server, net::HttpServer::listen({.max_connections = 100000, .idle_timeout = std::chrono::hours(1)},
                                                            [this](net::Request&& r, std::shared_ptr<net::ResponseWriter> w) { handle(r, std::move(w)); }, loop_));
      servers_.push_back(std::move(server));
    }
    return {};
  }
  std::string list() const {
    std::string list;
    for (const auto& server : servers_) list += (list.empty() ? "127.0.0.1:" : ",127.0.0.1:") + std::to_string(server->port());
    return list;
  }
  // One event for every stream; the last one ends them.
  void send_chunk(bool last) {
    loop_->run_and_wait([&] {
      for (const auto& stream : streams_) {
        stream->write(kChunk);
        if (last) stream->end();
      }
      if (last) streams_.clear();
    });
  }

 private:
  void handle(const net::Request& request, std::shared_ptr<net::ResponseWriter> writer) {
    if (request.path() == "/metrics") return writer->send({.content_type = "text/plain", .body = page_});
    if (request.body.find("\"stream\":true") == std::string::npos) {
      return writer->send({.body = "{\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"model\":\"m\",\"choices\":[{\"index\":0,\"text\":\"x\"}],"
                                   "\"usage\":{\"prompt_tokens\":50,\"completion_tokens\":1}}"});
    }
    writer->begin({.content_type = "text/event-stream"});
    streams_.push_back(std::move(writer));
  }

  const std::string page_;
  const std::shared_ptr<net::EventLoop> loop_ = std::make_shared<net::EventLoop>("engines");
  std::vector<std::unique_ptr<net::HttpServer>> servers_;
  std::vector<std::shared_ptr<net::ResponseWriter>> streams_;
};

std::string body_of(int bytes, int number, bool stream) {
  std::string prompt = std::to_string(number);
  const std::string shared(static_cast<std::size_t>(bytes) / 2, 's');
  prompt.resize(static_cast<std::size_t>(bytes) / 2, static_cast<char>('a' + number % 26));
  return "{\"model\":\"m\",\"max_tokens\":16," + std::string(stream ? "\"stream\":true," : "") + "\"prompt\":\"" + shared + prompt + "\"}";
}

// Sends all requests, so many at a time; returns how many failed.
int send_all(net::HttpClient& client, int requests, int bytes) {
  std::latch left(requests);
  std::atomic<int> failed{0};
  for (int i = 0; i < requests; ++i) {
    auto status = std::make_shared<int>(0);
    client.start({.method = "POST", .target = "/v1/completions", .body = body_of(bytes, i, false)},
                 {.on_head = [status](int s, const auto&) { *status = s; },
                  .on_done = [&, status](Status s) {
                    failed += !s.ok() || *status != 200;
                    left.count_down();
                  }});
  }
  left.wait();
  return failed;
}

Status measure_streams(const RouterBench& bench, const ServerProcess& router, Engines& engines, net::HttpClient& client) {
  std::latch begun(bench.streams), ended(bench.streams);
  std::atomic<int> failed{0};
  const double cpu_before = router.cpu_us();
  for (int i = 0; i < bench.streams; ++i) {
    auto head = std::make_shared<bool>(false);
    client.start({.method = "POST", .target = "/v1/completions", .body = body_of(200, i, true)},
                 {.on_head = [&begun, head](int, const auto&) {
                    *head = true;
                    begun.count_down();
                  },
                  .on_done = [&, head](Status s) {
                    if (!*head) begun.count_down();
                    failed += !s.ok();
                    ended.count_down();
                  }});
  }
  begun.wait();
  const double cpu_begun = router.cpu_us();
  const int resident = router.resident_mib();
  for (int i = 0; i < bench.chunks; ++i) {
    engines.send_chunk(i + 1 == bench.chunks);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ended.wait();
  const double chunks = static_cast<double>(bench.streams) * bench.chunks;
  std::printf("%-34s %10.1f us\n", ("start of a stream, " + std::to_string(bench.streams) + " at a time").c_str(), (cpu_begun - cpu_before) / bench.streams);
  std::printf("%-34s %10.2f us\n", "chunk of a stream", (router.cpu_us() - cpu_begun) / chunks);
  std::printf("%-34s %10d MiB\n", "resident with all streams open", resident);
  return failed == 0 ? Status() : internal_error(std::to_string(failed) + " streams failed");
}

// Prints what a request of each length costs. `send`: so many of that length; returns how many failed.
Status measure_requests(const RouterBench& bench, const ServerProcess& router, const std::function<int(int requests, int bytes)>& send) {
  const double idle_before = router.cpu_us();
  std::this_thread::sleep_for(std::chrono::seconds(2));
  const double idle = (router.cpu_us() - idle_before) / 2e6;
  std::printf("%-34s %10s\n%-34s %10.4f cores\n", "the router's processor time", "", "idle, scraping", idle);
  for (const std::string& length : bench.prompts) {
    const int bytes = std::atoi(length.c_str());
    send(bench.concurrency * 4, bytes);
    const double before = router.cpu_us();
    const auto began = std::chrono::steady_clock::now();
    const int failed = send(bench.requests, bytes);
    const double seconds = to_seconds(std::chrono::steady_clock::now() - began);
    const double per_request = (router.cpu_us() - before - idle * 1e6 * seconds) / bench.requests;
    std::printf("%-34s %10.1f us  %8.0f requests/s\n", ("request of " + std::to_string(bytes) + " bytes").c_str(), per_request, bench.requests / seconds);
    if (failed > 0) return internal_error(std::to_string(failed) + " requests failed");
  }
  return {};
}

Status measure_envoy(const RouterBench& bench, const ServerProcess& router, int port) {
  EnvoyLoad load("127.0.0.1:" + std::to_string(port), bench.concurrency);
  RETURN_IF_ERROR(measure_requests(bench, router, [&](int requests, int bytes) {
    return load.ask(requests, [&](int number) { return body_of(bytes, number, false); });
  }));
  RETURN_IF_ERROR(load.open_streams(bench.streams, body_of(200, 0, true)));
  const double before = router.cpu_us();
  for (int i = 0; i < bench.chunks; ++i) RETURN_IF_ERROR(load.send_chunk(kChunk, i + 1 == bench.chunks));
  std::printf("%-34s %10.2f us\n", "chunk of a stream", (router.cpu_us() - before) / bench.streams / bench.chunks);
  return {};
}

Status run(const RouterBench& bench) {
  for (const std::string& length : bench.prompts) {
    if (std::atoi(length.c_str()) < 2) return invalid_argument("--prompts: expected numbers of bytes from 2 on, found '" + length + "'", "prompts");
  }
  open_files_as_many_as_allowed();
  Engines engines(bench);
  RETURN_IF_ERROR(engines.open(bench.endpoints));
  ASSIGN_OR_RETURN(const int envoy_port, free_port());
  std::vector<std::string> words{"route", "--host", "127.0.0.1", "--port", "0", "--endpoints", engines.list(),
                                 bench.access_log ? "--access-log" : "--no-access-log", "--max-connections", "200000"};
  if (bench.ext_proc) words.insert(words.end(), {"--grpc-port", std::to_string(envoy_port), "--no-secure-serving"});
  ASSIGN_OR_RETURN(const auto router, ServerProcess::start(std::move(words)));
  ASSIGN_OR_RETURN(const std::string address, router->url(kPatience));
  ASSIGN_OR_RETURN(const net::Url url, net::parse_url(address));
  const auto client = net::HttpClient::create(url.host, url.port, bench.concurrency);
  RETURN_IF_ERROR(router->wait_ready(kPatience));
  if (bench.ext_proc) return measure_envoy(bench, *router, envoy_port);
  RETURN_IF_ERROR(measure_requests(bench, *router, [&](int requests, int bytes) { return send_all(*client, requests, bytes); }));
  const auto streaming = net::HttpClient::create(url.host, url.port, bench.streams);
  return measure_streams(bench, *router, engines, *streaming);
}

}  // namespace

int bench_router(Words words) {
  RouterBench settings;
  auto options = parse_options();
  options.positional_fields = {};
  const auto parsed = config::parse(settings, words, options);
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts(config::help<RouterBench>({"braid bench router [flags]",
        "What a request and a streamed chunk cost the router, and how much memory streams take: servers and clients of its own around it.", ""}).c_str());
    return 0;
  }
  const Status status = run(settings);
  return status.ok() ? 0 : fail(status.error());
}

}  // namespace braid::app
