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

#include "net/http_client.h"

namespace braid::app {
namespace {

constexpr auto kDeadline = std::chrono::minutes(10);

struct Call {
  TimePoint begin, last;
  bool first = true;
  int status = 0;
  net::SseReader events;
  std::string error_body;
};

// Everything but wait() runs on the client's thread.
class Generator {
 public:
  Generator(const LoadPlan& plan, const net::Url& url)
      : plan_(plan), url_(url), random_(plan.seed), client_(net::HttpClient::create(url.host, url.port)) {}

  LoadResult run() {
    const TimePoint begin = clock_.now();
    client_->after(Duration::zero(), [this] { plan_.request_rate > 0 ? arrive() : fill(); });
    std::unique_lock lock(mutex_);
    finished_.wait_for(lock, kDeadline * (1 + plan_.bodies.size() / 64), [this] { return done_ == plan_.bodies.size(); });
    result_.seconds = to_seconds(clock_.now() - begin);
    result_.failed += static_cast<int>(plan_.bodies.size() - done_);
    return result_;
  }

 private:
  bool room() const { return plan_.max_concurrency == 0 || running_ < plan_.max_concurrency; }

  void fill() {
    while (next_ < plan_.bodies.size() && room()) start(plan_.bodies[next_++]);
  }

  // Poisson arrivals; those beyond the concurrency wait for a place.
  void arrive() {
    if (arrived_ == plan_.bodies.size()) return;
    ++arrived_;
    if (room()) start(plan_.bodies[next_++]);
    const double gap = std::exponential_distribution<double>(plan_.request_rate)(random_);
    client_->after(std::chrono::duration_cast<Duration>(std::chrono::duration<double>(gap)), [this] { arrive(); });
  }

  void start(const std::string& body) {
    ++running_;
    auto call = std::make_shared<Call>();
    call->begin = clock_.now();
    net::ClientRequest request;
    request.method = "POST";
    request.target = url_.base + (plan_.chat ? "/v1/chat/completions" : "/v1/completions");
    request.body = body;
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
    call.first = false;
    call.last = now;
  }

  void end(const Call& call, const Status& status) {
    const bool failed = !status.ok() || call.status != 200;
    if (failed) {
      ++result_.failed;
      if (result_.first_failure.empty()) {
        result_.first_failure = status.ok() ? std::to_string(call.status) + " " + call.error_body : status.error().message;
      }
    } else {
      result_.end_to_end.push_back(to_seconds(clock_.now() - call.begin));
    }
    --running_;
    if (plan_.request_rate <= 0) fill();
    else if (next_ < arrived_ && room()) start(plan_.bodies[next_++]);
    std::lock_guard lock(mutex_);
    if (++done_ == plan_.bodies.size()) finished_.notify_all();
  }

  const LoadPlan& plan_;
  const net::Url url_;
  const SteadyClock clock_;
  std::mt19937_64 random_;
  std::size_t next_ = 0, arrived_ = 0;
  int running_ = 0;
  LoadResult result_;
  std::mutex mutex_;
  std::condition_variable finished_;
  std::size_t done_ = 0;
  std::unique_ptr<net::HttpClient> client_;  // last: its thread ends before what it uses
};

}  // namespace

Result<LoadResult> generate_load(const LoadPlan& plan) {
  ASSIGN_OR_RETURN(const net::Url url, net::parse_url(plan.url));
  if (plan.bodies.empty()) return invalid_argument("there is no request to send");
  return Generator(plan, url).run();
}

double percentile(std::vector<double> values, double p) {
  if (values.empty()) return 0;
  const auto at = static_cast<std::size_t>(std::clamp(std::ceil(p / 100 * static_cast<double>(values.size())) - 1, 0.0,
                                                      static_cast<double>(values.size() - 1)));
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(at), values.end());
  return values[at];
}

}  // namespace braid::app
