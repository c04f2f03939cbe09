// SPDX-License-Identifier: Apache-2.0
#include "app/server_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>

#include "net/http_client.h"
#include "net/http_server.h"

extern char** environ;

namespace braid::app {
namespace {

constexpr Duration kGrace = std::chrono::seconds(5);
constexpr std::string_view kUrl = "url=";

}  // namespace

Result<std::unique_ptr<ServerProcess>> ServerProcess::start(std::vector<std::string> words) {
  const std::string name = "braid " + (words.empty() ? std::string() : words.front());
  words.insert(words.begin(), "braid");
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return internal_error("cannot make a pipe for the log of " + name + ": " + std::strerror(errno));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, "/proc/self/exe", &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (error == 0) return std::unique_ptr<ServerProcess>(new ServerProcess(pid, ends[0], name));
  close(ends[0]);
  return internal_error("cannot start " + name + ": " + std::strerror(error));
}

ServerProcess::ServerProcess(pid_t pid, int log, std::string name)
    : pid_(pid), name_(std::move(name)), reader_([this, log] { read_log(log); }) {}

ServerProcess::~ServerProcess() {
  kill(pid_, SIGTERM);
  {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kGrace, [this] { return ended_; })) kill(pid_, SIGKILL);
  }
  waitpid(pid_, nullptr, 0);
  reader_.join();
}

void ServerProcess::read_log(int log) {
  std::FILE* file = fdopen(log, "r");
  char* line = nullptr;
  std::size_t size = 0;
  for (ssize_t length = 0; (length = getline(&line, &size, file)) > 0;) {
    const std::string_view text(line, static_cast<std::size_t>(length));
    const std::size_t at = text.find(kUrl);
    std::lock_guard lock(mutex_);
    last_line_ = text.substr(0, text.find('\n'));
    if (at == std::string_view::npos || !url_.empty()) continue;
    const std::string_view rest = text.substr(at + kUrl.size());
    url_ = rest.substr(0, rest.find_first_of(" \n"));
    changed_.notify_all();
  }
  std::free(line);
  std::fclose(file);
  std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

Result<std::string> ServerProcess::url(Duration patience) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, patience, [this] { return ended_ || !url_.empty(); })) {
    return Error{ErrorCode::kDeadlineExceeded, name_ + " did not start in time; it said: " + last_line_, {}};
  }
  if (url_.empty()) return Error{ErrorCode::kUnavailable, name_ + " ended before it listened; it said: " + last_line_, {}};
  return url_;
}

Status ServerProcess::wait_ready(Duration patience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  ASSIGN_OR_RETURN(const std::string address, url(patience));
  ASSIGN_OR_RETURN(const net::Url url, net::parse_url(address));
  const auto client = net::HttpClient::create(url.host, url.port);
  std::string said;
  while (std::chrono::steady_clock::now() < end) {
    const auto answer = client->fetch({.target = "/readyz", .timeout = std::chrono::seconds(5)});
    if (answer.ok() && answer->status == 200) return {};
    said = answer.ok() ? answer->body : answer.error().message;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return Error{ErrorCode::kDeadlineExceeded, name_ + " did not become ready; it said: " + said, {}};
}

double ServerProcess::cpu_us() const {
  const std::string folder = "/proc/" + std::to_string(pid_) + "/task";
  double sum = 0;
  DIR* tasks = ::opendir(folder.c_str());
  while (const dirent* task = tasks != nullptr ? ::readdir(tasks) : nullptr) {
    if (task->d_name[0] == '.') continue;
    std::ifstream in(folder + "/" + task->d_name + "/schedstat");
    double ns = 0;
    if (in >> ns) sum += ns / 1e3;
  }
  if (tasks != nullptr) ::closedir(tasks);
  return sum;
}

int ServerProcess::resident_mib() const {
  std::ifstream in("/proc/" + std::to_string(pid_) + "/status");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("VmRSS:")) return std::atoi(line.c_str() + 6) / 1024;
  }
  return 0;
}

Result<int> free_port() {
  ASSIGN_OR_RETURN(const auto probe, net::HttpServer::listen({}, [](net::Request&&, const auto&) {}));
  return probe->port();
}

}  // namespace braid::app
