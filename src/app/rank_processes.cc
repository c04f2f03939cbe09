// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "app/ranks.h"
#include "base/clock.h"
#include "base/log.h"

extern char** environ;

namespace braid::app {
namespace {

std::string describe(int rank, int status) {
  const std::string who = name_of_rank(rank);
  if (WIFSIGNALED(status)) return who + " was killed by signal " + std::to_string(WTERMSIG(status));
  return who + " ended with status " + std::to_string(WEXITSTATUS(status));
}

LogLevel level_of(const std::string& name) {
  if (name == "debug") return LogLevel::kDebug;
  if (name == "warning") return LogLevel::kWarning;
  return name == "error" ? LogLevel::kError : LogLevel::kInfo;
}

}  // namespace

std::string name_of_rank(int rank) { return "rank " + std::to_string(rank); }

void configure_serve_log(const ServeSettings& settings, bool quiet) {
  const LogLevel level = level_of(settings.log_level);
  configure_log(quiet && level == LogLevel::kInfo ? LogLevel::kWarning : level,
                settings.log_format == "json" ? LogFormat::kJson : LogFormat::kHuman);
}

RankProcesses::~RankProcesses() { wait(Duration::zero()); }

Result<pid_t> RankProcesses::start(int rank, const RankAddress& address, Words words) {
  std::vector<std::string> arguments{"braid", "rank", std::to_string(rank), address.leader, std::to_string(address.leader_port),
                                     std::to_string(address.server_port)};
  arguments.insert(arguments.end(), words.begin(), words.end());
  std::vector<char*> argv;
  for (auto& a : arguments) argv.push_back(a.data());
  argv.push_back(nullptr);
  const std::string variable = std::string(kSecretVariable) + "=" + address.secret;
  std::vector<char*> environment{const_cast<char*>(variable.c_str())};
  for (char** e = environ; *e; ++e) {
    if (std::strncmp(*e, variable.c_str(), std::strlen(kSecretVariable) + 1) != 0) environment.push_back(*e);
  }
  environment.push_back(nullptr);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, "/proc/self/exe", nullptr, nullptr, argv.data(), environment.data());
  if (error != 0) return internal_error("cannot start the process of " + name_of_rank(rank) + ": " + std::strerror(error));
  children_.push_back({rank, pid});
  return pid;
}

std::optional<RankProcesses::Ended> RankProcesses::ended() {
  for (auto child = children_.begin(); child != children_.end(); ++child) {
    int status = 0;
    if (waitpid(child->pid, &status, WNOHANG) != child->pid) continue;
    Ended ended{child->rank, child->pid, Ended::How::kFailed, describe(child->rank, status)};
    if (WIFSIGNALED(status) || WEXITSTATUS(status) == kPartedStatus) ended.how = Ended::How::kLost;
    else if (WEXITSTATUS(status) == 0) ended.how = Ended::How::kWell;
    children_.erase(child);
    return ended;
  }
  return std::nullopt;
}

void RankProcesses::kill(pid_t pid) { ::kill(pid, SIGKILL); }

void RankProcesses::wait(Duration timeout) {
  const TimePoint deadline = std::chrono::steady_clock::now() + timeout;
  while (any() && std::chrono::steady_clock::now() < deadline) {
    if (!ended()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  for (const Child& child : children_) {
    ::kill(child.pid, SIGKILL);
    waitpid(child.pid, nullptr, 0);
  }
  children_.clear();
}

}  // namespace braid::app
