// SPDX-License-Identifier: Apache-2.0
// What a routing decision costs: microseconds of CPU for reading a request, for the decision, and for
// the accounting of what is sent, by prompt size and number of endpoints. Half of each prompt is shared.
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "router/router.h"

namespace braid::router {
namespace {

std::vector<Endpoint> pool(int count) {
  std::vector<Endpoint> endpoints;
  for (int i = 0; i < count; ++i) {
    Endpoint endpoint{{"model-server-" + std::to_string(i), "10.0.0." + std::to_string(i), 8000, 0}, {}, {}};
    endpoint.state.waiting = i % 5;
    endpoint.state.kv_usage = 0.1 * (i % 7);
    endpoint.state.running = i;
    endpoint.state.block_size = 64;
    endpoint.state.num_blocks = 20000;
    endpoints.push_back(std::move(endpoint));
  }
  return endpoints;
}

std::string body_of(std::size_t bytes, int number) {
  std::string prompt(bytes, 'a');
  for (std::size_t i = 0; i < bytes; ++i) prompt[i] = static_cast<char>('a' + (i * 7 + i / 26) % 26);
  const std::string own = std::to_string(number);
  prompt.replace(bytes / 2, own.size(), own);
  return R"({"model":"m","messages":[{"role":"user","content":")" + prompt + R"("}],"max_tokens":100,"stream":true})";
}

void measure(std::size_t bytes, int endpoint_count) {
  using Clock = std::chrono::steady_clock;
  SteadyClock clock;
  Metrics metrics;
  auto router = Router::make(default_picker_config(), {&clock, &metrics});
  if (!router.ok()) return;
  const std::vector<Endpoint> endpoints = pool(endpoint_count);
  const int rounds = bytes > 100000 ? 400 : 4000;
  Clock::duration reading{}, deciding{}, accounting{};
  for (int i = 0; i < rounds; ++i) {
    IncomingRequest incoming{"POST", "/v1/chat/completions", {{"content-type", "application/json"}, {"x-request-id", "r"}}, body_of(bytes, i)};
    const auto start = Clock::now();
    auto request = read_request(std::move(incoming), start);
    const auto read = Clock::now();
    const Decision decision = (*router)->decide(*request, endpoints);
    const auto decided = Clock::now();
    const FlightId flight = (*router)->sent(*request, decision);
    (*router)->first_chunk(flight);
    (*router)->done(flight, {});
    const auto done = Clock::now();
    reading += read - start;
    deciding += decided - read;
    accounting += done - decided;
  }
  const auto mean = [&](Clock::duration total) { return std::chrono::duration<double, std::micro>(total).count() / rounds; };
  std::printf("%7zu bytes  %4d endpoints   read %7.2f us   decide %7.2f us   account %7.2f us\n", bytes, endpoint_count, mean(reading), mean(deciding), mean(accounting));
}

}  // namespace
}  // namespace braid::router

int main() {
  for (const int endpoints : {16, 100}) {
    for (const std::size_t bytes : {200, 16384, 400000}) braid::router::measure(bytes, endpoints);
  }
  return 0;
}
