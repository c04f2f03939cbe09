// SPDX-License-Identifier: Apache-2.0
#include "app/load_generator.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>

#include "net/client_pool.h"
#include "net/http_client.h"

namespace braid::app {
namespace {

constexpr auto kDeadline = std::chrono::minutes(10);

struct Call {
  std::size_t number = 0;
  TimePoint begin, last;
  bool first = true;
  int status = 0;
  net::SseReader events;
  std::string error_body;
};

// When each request comes, as Poisson does.
std::vector<double> poisson_arrivals(const LoadPlan& plan) {
  std::mt19937_64 random(plan.seed);
  std::exponential_distribution<double> gap(plan.request_rate);
  std::vector<double> arrivals{0};
  while (arrivals.size() < plan.bodies.size()) arrivals.push_back(arrivals.back() + gap(random));
  return arrivals;
}

// Everything but run() happens on the loop's thread.
class Generator {
 public:
  Generator(const LoadPlan& plan, std::vector<net::Url> servers)
      : plan_(plan), servers_(std::move(servers)), arrivals_(plan.request_rate > 0 ? poisson_arrivals(plan) : plan.arrivals),
        loop_(std::make_shared<net::EventLoop>("load")), client_(net::ClientPool::create(loop_)) {
    result_.first_token_of.assign(plan.bodies.size(), -1);
    result_.ended_at.assign(plan.bodies.size(), -1);
  }
  ~Generator() {
    loop_->run_and_wait([this] { client_.reset(); });
  }

  LoadResult run() {
    begin_ = clock_.now();
    loop_->post([this] { arrivals_.empty() ? fill() : arrive(); });
    std::unique_lock lock(mutex_);
    finished_.wait_for(lock, kDeadline * (1 + plan_.bodies.size() / 64), [this] { return done_ == plan_.bodies.size(); });
    result_.seconds = to_seconds(clock_.now() - begin_);
    result_.failed += static_cast<int>(plan_.bodies.size() - done_);
    return result_;
  }

 private:
  bool room() const { return plan_.max_concurrency == 0 || running_ < plan_.max_concurrency; }

  void fill() {
    while (next_ < plan_.bodies.size() && room()) start();
  }

  // Those beyond the concurrency wait for a place.
  void arrive() {
    if (arrived_ == plan_.bodies.size()) return;
    const Duration due = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(arrivals_[arrived_]));
    const Duration left = begin_ + due - clock_.now();
    if (left > Duration::zero()) return loop_->after(left, [this] { arrive(); });
    ++arrived_;
    if (room()) start();
    loop_->post([this] { arrive(); });
  }

  void start() {
    const std::size_t number = next_++;
    const net::Url& server = servers_[number % servers_.size()];
    ++running_;
    auto call = std::make_shared<Call>();
    call->number = number;
    call->begin = clock_.now();
    net::PoolRequest request;
    request.host = server.host;
    request.port = server.port;
    request.method = "POST";
    request.target = server.base + (plan_.chat ? "/v1/chat/completions" : "/v1/completions");
    request.headers = {{"Content-Type", "application/json"}};
    request.body = plan_.bodies[number];
    request.timeout = kDeadline;
    if (!plan_.api_key.empty()) request.headers.push_back({"Authorization", "Bearer " + plan_.api_key});
    net::ClientHandlers handlers;
    handlers.on_head = [call](int status, const auto&) { call->status = status; };
    handlers.on_data = [this, call](std::string_view data) {
      if (call->status != 200) call->error_body.append(data.substr(0, 500));
      else call->events.feed(data, [&](std::string_view event) { observe(*call, event); });
    };
    handlers.on_done = [this, call](Status status) { end(*call, status); };
    client_->start(std::move(request), std::move(handlers));
  }

  void observe(Call& call, std::string_view event) {
    const auto json = nlohmann::json::parse(event.begin(), event.end(), nullptr, false);
    if (!json.is_object()) return;
    if (json.contains("usage") && json["usage"].is_object()) {
      result_.prompt_tokens += json["usage"].value("prompt_tokens", 0);
      result_.output_tokens += json["usage"].value("completion_tokens", 0);
    }
    if (!json.contains("choices") || json["choices"].empty()) return;
    const TimePoint now = clock_.now();
    (call.first ? result_.first_token : result_.gaps).push_back(to_seconds(now - (call.first ? call.begin : call.last)));
    if (call.first) result_.first_token_of[call.number] = result_.first_token.back();
    call.first = false;
    call.last = now;
  }

  void end(const Call& call, const Status& status) {
    const bool failed = !status.ok() || call.status != 200;
    if (failed) {
      ++result_.failed;
      result_.first_token_of[call.number] = -1;
      if (result_.first_failure.empty()) {
        result_.first_failure = status.ok() ? std::to_string(call.status) + " " + call.error_body : status.error().message;
      }
    } else {
      result_.end_to_end.push_back(to_seconds(clock_.now() - call.begin));
      result_.ended_at[call.number] = to_seconds(clock_.now() - begin_);
    }
    --running_;
    if (arrivals_.empty()) fill();
    else if (next_ < arrived_ && room()) start();
    std::lock_guard lock(mutex_);
    if (++done_ == plan_.bodies.size()) finished_.notify_all();
  }

  const LoadPlan& plan_;
  const std::vector<net::Url> servers_;
  const std::vector<double> arrivals_;
  const SteadyClock clock_;
  TimePoint begin_{};
  std::size_t next_ = 0, arrived_ = 0;
  int running_ = 0;
  LoadResult result_;
  std::mutex mutex_;
  std::condition_variable finished_;
  std::size_t done_ = 0;
  std::shared_ptr<net::EventLoop> loop_;
  std::unique_ptr<net::ClientPool> client_;
};

}  // namespace

Result<LoadResult> generate_load(const LoadPlan& plan) {
  if (plan.bodies.empty()) return invalid_argument("there is no request to send");
  std::vector<net::Url> servers;
  for (const std::string& text : plan.urls) {
    ASSIGN_OR_RETURN(net::Url url, net::parse_url(text));
    servers.push_back(std::move(url));
  }
  return Generator(plan, std::move(servers)).run();
}

double percentile(std::vector<double> values, double p) {
  if (values.empty()) return 0;
  const auto at = static_cast<std::size_t>(std::clamp(std::ceil(p / 100 * static_cast<double>(values.size())) - 1, 0.0,
                                                      static_cast<double>(values.size() - 1)));
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(at), values.end());
  return values[at];
}

}  // namespace braid::app
