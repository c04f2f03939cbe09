// SPDX-License-Identifier: Apache-2.0
// Brings spans to a collector from a thread of its own: in batches, at least every second. Nothing waits for
// the collector: when it is slow, the queue fills and further spans are dropped and counted.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "net/http_client.h"
#include "tracing/metrics.h"
#include "tracing/span.h"

namespace braid::tracing {

class Exporter {
 public:
  // Errors: `endpoint` is no http URL. `metrics` outlives it.
  static Result<std::unique_ptr<Exporter>> start(const std::string& endpoint, std::string service, Metrics& metrics);
  // Sends what is left, for a few seconds at most.
  ~Exporter();

  // Thread safety: from any thread; does not block.
  void add(Span&& span);

 private:
  Exporter(net::Url url, std::string service, Metrics& metrics);
  void run();
  void send(const std::vector<Span>& batch, Duration timeout);

  const std::unique_ptr<net::HttpClient> client_;
  const std::string path_;
  const std::string service_;
  Metrics& metrics_;
  const TimePoint epoch_;
  bool failing_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Span> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace braid::tracing
