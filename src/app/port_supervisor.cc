// SPDX-License-Identifier: Apache-2.0
#include "app/port_supervisor.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "app/ranks.h"
#include "app/restart_pause.h"
#include "base/log.h"
#include "base/thread_name.h"
#include "fabric/connection.h"
#include "net/http_client.h"
#include "net/http_server.h"

namespace braid::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr Duration kLook = std::chrono::milliseconds(50);

TimePoint now() { return std::chrono::steady_clock::now(); }
Duration seconds(double n) { return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(n)); }

// Runs `braid serve`, which ends when this process does.
Result<pid_t> start_server(const std::vector<std::string>& words) {
  std::vector<std::string> arguments{"braid", "serve"};
  arguments.insert(arguments.end(), words.begin(), words.end());
  std::vector<char*> argv;
  for (auto& a : arguments) argv.push_back(a.data());
  argv.push_back(nullptr);
  const pid_t pid = fork();
  if (pid < 0) return internal_error(std::string("cannot start a server: ") + std::strerror(errno));
  if (pid > 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  execv("/proc/self/exe", argv.data());
  _exit(127);
}

// What probes have found, from any thread.
class Health {
 public:
  explicit Health(int threshold) : threshold_(threshold) {}
  void observe(bool healthy, bool ready) {
    std::lock_guard lock(mutex_);
    ready_ = ready;
    seen_ = seen_ || healthy;
    failures_ = healthy ? 0 : failures_ + 1;
  }
  // Another process begins.
  void reset() {
    std::lock_guard lock(mutex_);
    ready_ = false;
  }
  bool ready() const {
    std::lock_guard lock(mutex_);
    return ready_;
  }
  // Also while it starts for the first time.
  bool healthy() const {
    std::lock_guard lock(mutex_);
    return !seen_ || failures_ < threshold_;
  }
  bool was_healthy() const {
    std::lock_guard lock(mutex_);
    return seen_;
  }

 private:
  const int threshold_;
  mutable std::mutex mutex_;
  bool ready_ = false;
  bool seen_ = false;
  int failures_ = 0;
};

// One rank's server. Thread rules: one thread; health() from any.
class Served {
 public:
  Served(int rank, int port, std::vector<std::string> words, const ParallelSettings& p, const std::string& host)
      : rank_(rank), port_(port), words_(std::move(words)), interval_(seconds(p.probe_interval_seconds)),
        timeout_(seconds(p.probe_timeout_seconds)), health_(p.probe_failure_threshold), client_(net::HttpClient::create(host, port, 1)) {}

  ~Served() {
    terminate();
    if (pid_ > 0) waitpid(pid_, nullptr, 0);
    stopping_ = true;
    if (prober_.joinable()) prober_.join();
  }

  Status start() {
    started_ = now();
    health_.reset();
    ASSIGN_OR_RETURN(pid_, start_server(words_));
    if (!prober_.joinable()) prober_ = std::thread([this] { probe(); });
    return Status::success();
  }

  // Starts it again when it has ended; an error when it never was well.
  Status look() {
    if (restart_ && now() >= *restart_) {
      restart_.reset();
      return start();
    }
    int status = 0;
    if (pid_ <= 0 || waitpid(pid_, &status, WNOHANG) != pid_) return Status::success();
    pid_ = -1;
    if (!health_.was_healthy()) return internal_error("the server of " + name_of_rank(rank_) + " could not start; see its message above");
    health_.observe(false, false);
    const Duration pause = pause_.after_life_of(now() - started_);
    restart_ = now() + pause;
    log_warning("a rank's server has ended and is started again", {{"rank", rank_}, {"port", port_}, {"in_seconds", to_seconds(pause)}});
    return Status::success();
  }

  void terminate() {
    if (pid_ > 0) kill(pid_, SIGTERM);
  }

  int rank() const { return rank_; }
  int port() const { return port_; }
  const Health& health() const { return health_; }

 private:
  void probe() {
    name_this_thread("braid-probe");
    while (!stopping_) {
      const bool healthy = get("/health");
      const bool ready = healthy && get("/ready");
      if (healthy && !health_.was_healthy()) log_info("a rank's server is up", {{"rank", rank_}, {"port", port_}});
      health_.observe(healthy, ready);
      const bool starts = !health_.was_healthy() || (healthy && !ready);
      const TimePoint next = now() + (starts ? std::min(interval_, kLook) : interval_);
      while (!stopping_ && now() < next) std::this_thread::sleep_for(std::min(kLook, interval_));
    }
  }

  bool get(const char* path) {
    net::ClientRequest request;
    request.target = path;
    request.timeout = timeout_;
    const auto answer = client_->fetch(std::move(request));
    return answer.ok() && answer->status == 200;
  }

  const int rank_;
  const int port_;
  const std::vector<std::string> words_;
  const Duration interval_;
  const Duration timeout_;
  pid_t pid_ = -1;
  TimePoint started_{};
  std::optional<TimePoint> restart_;
  RestartPause pause_;
  Health health_;
  const std::unique_ptr<net::HttpClient> client_;
  std::atomic<bool> stopping_{false};
  std::thread prober_;
};

void answer(const std::deque<Served>& servers, const net::Request& request, net::ResponseWriter& writer) {
  const bool health = request.path() == "/health", ready = request.path() == "/readyz";
  net::Response response;
  if (!health && !ready) {
    response.status = 404;
    response.body = Json{{"error", "this port has /health and /readyz; requests go to the ports of the ranks"}}.dump();
    return writer.send(std::move(response));
  }
  bool good = true;
  Json ranks = Json::array();
  for (const Served& s : servers) {
    good = good && (health ? s.health().healthy() : s.health().ready());
    ranks.push_back({{"rank", s.rank()}, {"port", s.port()}, {"healthy", s.health().healthy()}, {"ready", s.health().ready()}});
  }
  response.status = good ? 200 : 503;
  response.body = Json{{"ranks", ranks}}.dump();
  writer.send(std::move(response));
}

std::vector<std::string> words_for(const ParallelSettings& p, Words words, int rank, int port) {
  std::vector<std::string> all(words.begin(), words.end());
  for (const std::string& word : {std::string("--no-data-parallel-multi-port-external-lb"), std::string("--data-parallel-start-rank"),
                                  std::to_string(p.start_rank), std::string("--data-parallel-size-local"), std::to_string(p.local_size()),
                                  std::string("--data-parallel-rank"), std::to_string(rank), std::string("--port"), std::to_string(port)}) {
    all.push_back(word);
  }
  return all;
}

}  // namespace

Status run_port_supervisor(const ServeSettings& settings, Words words, const sigset_t& stop) {
  const ParallelSettings& p = settings.parallel;
  if (settings.serve.port == 0) {
    return invalid_argument("--data-parallel-multi-port-external-lb needs a --port for its first rank; those of the others follow it", "port");
  }
  if (p.start_rank > 0 && p.secret.empty()) {
    return invalid_argument(std::string("ranks that another host leads need the secret of the deployment in ") + kSecretVariable);
  }
  if (p.secret.empty()) setenv(kSecretVariable, fabric::make_secret().c_str(), 1);  // for the servers
  const std::string host = settings.serve.host == "0.0.0.0" ? kLoopback : settings.serve.host;
  std::deque<Served> servers;
  for (int i = 0; i < p.local_size(); ++i) {
    const int rank = p.start_rank + i, port = settings.serve.port + i;
    servers.emplace_back(rank, port, words_for(p, words, rank, port), p, host);
  }
  net::HttpServerOptions options;
  options.host = settings.serve.host;
  options.port = p.supervisor_port;
  ASSIGN_OR_RETURN(const auto http, net::HttpServer::listen(options, [&servers](net::Request&& r, const std::shared_ptr<net::ResponseWriter>& w) { answer(servers, r, *w); }));
  log_info("supervising", {{"ranks", p.local_size()}, {"first_port", settings.serve.port}, {"supervisor_port", http->port()}});
  Status status;
  for (Served& s : servers) RETURN_IF_ERROR(s.start());
  const timespec look{0, std::chrono::nanoseconds(kLook).count()};
  while (status.ok() && sigtimedwait(&stop, nullptr, &look) < 0) {
    for (Served& s : servers) {
      if (status.ok()) status = s.look();
    }
  }
  http->shutdown(kLook);
  for (Served& s : servers) s.terminate();
  return status;
}

}  // namespace braid::app
