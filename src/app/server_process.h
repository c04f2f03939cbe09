// SPDX-License-Identifier: Apache-2.0
// A server of this binary as a child process, for benches.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace braid::app {

class ServerProcess {
 public:
  // Runs `braid WORDS...`. An error if that cannot be started.
  static Result<std::unique_ptr<ServerProcess>> start(std::vector<std::string> words);
  ~ServerProcess();  // ends it, by force if it takes long

  // Waits until its log says where it listens; an error with what it said last if it ends before that,
  // or takes longer than `patience`.
  Result<std::string> url(Duration patience);

  // Waits until its /readyz says 200; an error with what it says instead.
  Status wait_ready(Duration patience);

  double cpu_us() const;      // processor time of all its threads
  int resident_mib() const;

 private:
  ServerProcess(pid_t pid, int log, std::string name);
  void read_log(int log);

  const pid_t pid_;
  const std::string name_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string url_, last_line_;
  bool ended_ = false;  // its log has
  std::thread reader_;
};

// A port that nobody listens on now, for servers that must be told one.
Result<int> free_port();

}  // namespace braid::app
