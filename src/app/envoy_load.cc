// SPDX-License-Identifier: Apache-2.0
#include "app/envoy_load.h"

#include <atomic>
#include <thread>

namespace braid::app {
namespace {

using extproc::Part;

constexpr Duration kPatience = std::chrono::minutes(2);
constexpr std::size_t kPiece = 64u << 10;  // Envoy passes on what it has read
constexpr const char* kAnswer =
    R"({"object":"text_completion","model":"m","choices":[{"index":0,"text":"x"}],"usage":{"prompt_tokens":50,"completion_tokens":1}})";

void send_request(extproc::ClientStream& stream, const std::string& body) {
  stream.send({.part = Part::kRequestHeaders,
               .headers = {{":method", "POST"}, {":path", "/v1/completions"}, {":authority", "models"}, {":scheme", "http"},
                           {"content-type", "application/json"}, {"content-length", std::to_string(body.size())}}});
  for (std::size_t at = 0; at < body.size(); at += kPiece) {
    stream.send({.part = Part::kRequestBody, .body = body.substr(at, kPiece), .end = at + kPiece >= body.size()});
  }
}

// Takes replies up to that which ends `part`. False: the router answers itself, or has left.
bool take(extproc::ClientStream& stream, Part part, bool whole) {
  while (auto told = stream.next()) {
    if (told->is_answer) return false;
    if (told->reply.part == part && (told->reply.end || !whole)) return true;
  }
  return false;
}

void begin_answer(extproc::ClientStream& stream, const char* type) {
  stream.send({.part = Part::kResponseHeaders, .headers = {{":status", "200"}, {"content-type", type}}});
}

bool ask_once(extproc::Client& router, const std::string& body) {
  const auto stream = router.open(kPatience);
  send_request(*stream, body);
  if (!take(*stream, Part::kRequestBody, true)) return false;
  begin_answer(*stream, "application/json");
  stream->send({.part = Part::kResponseBody, .body = kAnswer, .end = true});
  return take(*stream, Part::kResponseBody, true) && stream->close().empty();
}

}  // namespace

int EnvoyLoad::ask(int requests, const std::function<std::string(int number)>& body) {
  std::atomic<int> next{0}, failed{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < concurrency_; ++i) {
    threads.emplace_back([&] {
      for (int number = next++; number < requests; number = next++) failed += !ask_once(*router_, body(number));
    });
  }
  for (std::thread& thread : threads) thread.join();
  return failed;
}

Status EnvoyLoad::open_streams(int count, const std::string& body) {
  for (int i = 0; i < count; ++i) {
    auto stream = router_->open(kPatience);
    send_request(*stream, body);
    if (!take(*stream, Part::kRequestBody, true)) return internal_error("the router refused a stream");
    begin_answer(*stream, "text/event-stream");
    if (!take(*stream, Part::kResponseHeaders, false)) return internal_error("the router ended a stream");
    streams_.push_back(std::move(stream));
  }
  return {};
}

Status EnvoyLoad::send_chunk(std::string_view chunk, bool last) {
  for (const auto& stream : streams_) stream->send({.part = Part::kResponseBody, .body = std::string(chunk), .end = last});
  for (const auto& stream : streams_) {
    if (!take(*stream, Part::kResponseBody, last)) return internal_error("the router ended a stream");
  }
  if (last) streams_.clear();
  return {};
}

}  // namespace braid::app
