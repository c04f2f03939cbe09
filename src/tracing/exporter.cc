// SPDX-License-Identifier: Apache-2.0
#include "tracing/exporter.h"

#include <algorithm>

#include "base/log.h"
#include "base/thread_name.h"
#include "tracing/otlp.h"

namespace braid::tracing {
namespace {

constexpr std::size_t kLongestQueue = 4096;
constexpr std::size_t kBatch = 512;
constexpr Duration kInterval = std::chrono::seconds(1);
constexpr Duration kPatience = std::chrono::seconds(10);
constexpr Duration kLastPatience = std::chrono::seconds(3);

TimePoint unix_epoch() {
  return std::chrono::steady_clock::now() - std::chrono::duration_cast<Duration>(std::chrono::system_clock::now().time_since_epoch());
}

}  // namespace

Result<std::unique_ptr<Exporter>> Exporter::start(const std::string& endpoint, std::string service, Metrics& metrics) {
  auto url = net::parse_url(endpoint);
  if (!url.ok()) return url.error().within("--otlp-traces-endpoint");
  return std::unique_ptr<Exporter>(new Exporter(std::move(*url), std::move(service), metrics));
}

Exporter::Exporter(net::Url url, std::string service, Metrics& metrics)
    : client_(net::HttpClient::create(url.host, url.port, 1)), path_(url.base.empty() ? "/v1/traces" : url.base), service_(std::move(service)),
      metrics_(metrics), epoch_(unix_epoch()), thread_([this] { run(); }) {}

Exporter::~Exporter() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Exporter::add(Span&& span) {
  std::size_t waiting = 0;
  {
    std::lock_guard lock(mutex_);
    waiting = queue_.size();
    if (waiting < kLongestQueue) queue_.push_back(std::move(span));
  }
  if (waiting >= kLongestQueue) metrics_.dropped.with({"queue_full"}).add();
  else if (waiting + 1 == kBatch) changed_.notify_all();
}

void Exporter::run() {
  name_this_thread("braid-traces");
  for (;;) {
    std::vector<Span> batch;
    bool last = false;
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, kInterval, [this] { return stopping_ || queue_.size() >= kBatch; });
      last = stopping_;
      const auto end = queue_.begin() + static_cast<std::ptrdiff_t>(std::min(queue_.size(), last ? kLongestQueue : kBatch));
      batch.assign(std::make_move_iterator(queue_.begin()), std::make_move_iterator(end));
      queue_.erase(queue_.begin(), end);
    }
    if (!batch.empty()) send(batch, last ? kLastPatience : kPatience);
    if (last) return;
  }
}

void Exporter::send(const std::vector<Span>& batch, Duration timeout) {
  net::ClientRequest request;
  request.method = "POST";
  request.target = path_;
  request.body = to_otlp(batch, service_, epoch_);
  request.timeout = timeout;
  const auto answer = client_->fetch(std::move(request));
  const bool taken = answer.ok() && answer->status / 100 == 2;
  if (taken) metrics_.exported.add(static_cast<double>(batch.size()));
  else metrics_.dropped.with({answer.ok() ? "refused" : "unreachable"}).add(static_cast<double>(batch.size()));
  if (!taken && !failing_) {
    log_warning("spans are lost: the collector of traces does not take them",
                {{"why", answer.ok() ? "status " + std::to_string(answer->status) : answer.error().message}});
  }
  failing_ = !taken;
}

}  // namespace braid::tracing
