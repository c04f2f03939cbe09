// SPDX-License-Identifier: Apache-2.0
#include "gateway/core.h"

#include <random>

#include "gateway/passage.h"

namespace braid::gateway {

void Core::poll_soon() {
  if (waiting.empty() || poll_posted_) return;
  poll_posted_ = true;
  loop->post([this] {
    poll_posted_ = false;
    poll();
  });
}

void Core::poll() {
  for (router::Settled& settled : router->poll(endpoints->usable())) {
    const auto found = waiting.find(settled.ticket);
    if (found == waiting.end()) continue;
    const auto exchange = std::move(found->second);
    waiting.erase(found);
    exchange->settle(std::move(settled.decision));
  }
  for (const router::FlightId flight : router->take_evictions()) {
    if (const auto found = in_flight.find(flight); found != in_flight.end()) {
      if (const auto exchange = found->second.lock()) exchange->evict();
    }
  }
  if (const auto wake = router->next_wake()) wake_at(*wake);
}

void Core::wake_at(TimePoint when) {
  if (when >= wake_) return;
  wake_ = when;
  loop->after(std::max(Duration::zero(), when - clock.now()), [this] {
    wake_ = TimePoint::max();
    poll_soon();
  });
}

std::string new_request_id() {
  static constexpr char kHex[] = "0123456789abcdef";
  thread_local std::mt19937_64 random = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  std::string id(32, '0');
  for (std::size_t i = 0; i < 32; i += 16) {
    std::uint64_t bits = random();
    for (std::size_t j = 0; j < 16; ++j, bits >>= 4) id[i + j] = kHex[bits & 15];
  }
  return id;
}

net::PoolRequest request_to(const router::EndpointId& id, const HttpSettings& settings) {
  net::PoolRequest request;
  request.host = id.address;
  request.port = id.port;
  request.connect_timeout = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(settings.connect_timeout_seconds));
  request.silence_timeout = std::chrono::seconds(settings.response_timeout_seconds);
  request.timeout = std::chrono::seconds(settings.request_timeout_seconds);
  return request;
}

}  // namespace braid::gateway
