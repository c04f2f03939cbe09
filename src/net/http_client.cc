// SPDX-License-Identifier: Apache-2.0
#include "net/http_client.h"

#include <atomic>
#include <future>
#include <unordered_map>

namespace braid::net {
namespace {

class Client final : public HttpClient {
 public:
  Client(std::string host, int port, int max_connections)
      : host_(std::move(host)), port_(port), loop_(std::make_shared<EventLoop>("braid-client")),
        pool_(ClientPool::create(loop_, {.max_connections = max_connections, .idle_timeout = std::chrono::hours(1)})) {}

  ~Client() override {
    loop_->run_and_wait([this] { pool_.reset(); });
  }

  CallId start(ClientRequest request, ClientHandlers handlers) override {
    const CallId id = ++last_id_;
    auto call = std::make_shared<Call>(Call{std::move(request), std::move(handlers.on_done), 0});
    loop_->post([this, id, call, handlers = std::move(handlers)]() mutable { begin(id, call, std::move(handlers)); });
    return id;
  }

  void cancel(CallId id) override {
    loop_->post([this, id] {
      if (const auto found = calls_.find(id); found != calls_.end()) pool_->cancel(found->second->id);
    });
  }

  void after(Duration delay, std::function<void()> work) override { loop_->after(delay, std::move(work)); }

 private:
  struct Call {
    ClientRequest request;  // whose body the pool reads
    std::function<void(Status)> on_done;
    ClientPool::CallId id;
  };

  void begin(CallId id, const std::shared_ptr<Call>& call, ClientHandlers handlers) {
    if (!pool_) return;  // the client is ending
    ClientRequest& request = call->request;
    PoolRequest wire{.host = host_, .port = port_, .method = std::move(request.method), .target = std::move(request.target),
                     .headers = std::move(request.headers), .body = request.body, .connect_timeout = request.timeout,
                     .silence_timeout = request.timeout, .timeout = request.timeout};
    if (!request.body.empty() && find_header(wire.headers, "content-type").empty()) wire.headers.push_back({"content-type", "application/json"});
    handlers.on_done = [this, id, call](Status status) {
      calls_.erase(id);
      if (call->on_done) call->on_done(std::move(status));
    };
    calls_[id] = call;
    call->id = pool_->start(std::move(wire), std::move(handlers));
  }

  const std::string host_;
  const int port_;
  const std::shared_ptr<EventLoop> loop_;
  std::unique_ptr<ClientPool> pool_;  // these two on the loop's thread only
  std::unordered_map<CallId, std::shared_ptr<Call>> calls_;
  std::atomic<CallId> last_id_{0};
};

}  // namespace

std::unique_ptr<HttpClient> HttpClient::create(const std::string& host, int port, int max_connections) {
  return std::make_unique<Client>(host, port, max_connections);
}

Result<ClientResponse> HttpClient::fetch(ClientRequest request) {
  auto body = std::make_shared<std::string>();
  auto result = fetch_stream(std::move(request), [body](std::string_view data) { *body += data; });
  if (result.ok()) result->body = std::move(*body);
  return result;
}

Result<ClientResponse> HttpClient::fetch_stream(ClientRequest request,
                                                std::function<void(std::string_view)> on_data) {
  auto response = std::make_shared<ClientResponse>();
  auto done = std::make_shared<std::promise<Status>>();
  auto outcome = done->get_future();
  start(std::move(request), {.on_head =
                                 [response](int status, const std::vector<Header>& headers) {
                                   response->status = status;
                                   response->headers = headers;
                                 },
                             .on_data = std::move(on_data),
                             .on_done = [done](Status status) { done->set_value(std::move(status)); }});
  Status status = outcome.get();
  if (!status.ok()) return status.error();
  return std::move(*response);
}

}  // namespace braid::net
