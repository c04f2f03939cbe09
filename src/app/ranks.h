// SPDX-License-Identifier: Apache-2.0
// How the ranks' processes are started and recognised.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "app/commands.h"
#include "app/settings.h"
#include "base/clock.h"

namespace braid::app {

inline constexpr const char* kSecretVariable = "BRAID_DATA_PARALLEL_SECRET";
inline constexpr const char* kLoopback = "127.0.0.1";
inline constexpr int kPartedStatus = 3;  // of a rank's process that lost the serving process

// "rank 3"
std::string name_of_rank(int rank);

// Level and format; `quiet` keeps back what the first rank of the host says too.
void configure_serve_log(const ServeSettings& settings, bool quiet);

// Where a rank's process reports.
struct RankAddress {
  std::string leader;
  int leader_port = 0;
  int server_port = 0;  // on kLoopback, of the process that hands it requests; 0: that is the leader
  std::string secret;
};

// This host's rank processes. The destructor kills and reaps what is left of them.
class RankProcesses {
 public:
  RankProcesses() = default;
  ~RankProcesses();
  RankProcesses(const RankProcesses&) = delete;
  RankProcesses& operator=(const RankProcesses&) = delete;

  // `words`: of serve.
  Result<pid_t> start(int rank, const RankAddress& address, Words words);
  struct Ended {
    int rank = 0;
    pid_t pid = 0;
    enum class How { kWell, kFailed, kLost } how = How::kFailed;  // lost: killed, or parted from a serving process
    std::string text;  // "rank 2 was killed by signal 9"
  };
  // One that has ended, once.
  std::optional<Ended> ended();
  // ended() will tell.
  void kill(pid_t pid);
  // Waits for all to end; those that have not by `timeout` are killed.
  void wait(Duration timeout);
  bool any() const { return !children_.empty(); }

 private:
  struct Child {
    int rank;
    pid_t pid;
  };
  std::vector<Child> children_;
};

}  // namespace braid::app
