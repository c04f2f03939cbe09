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
inline constexpr int kPartedStatus = 3;  // of a rank's process that lost the serving process

// Level and format; `quiet` keeps back what the first rank of the host says too.
void configure_serve_log(const ServeSettings& settings, bool quiet);

// What a rank says when it connects: its number and the settings that all ranks must share.
std::string hello_of(const ServeSettings& settings, int rank);
// The rank of a hello; an error names the setting in which it differs from `settings`.
Result<int> rank_of(const std::string& hello, const ServeSettings& settings);

// This host's rank processes. The destructor kills and reaps what is left of them.
class RankProcesses {
 public:
  RankProcesses() = default;
  ~RankProcesses();
  RankProcesses(const RankProcesses&) = delete;
  RankProcesses& operator=(const RankProcesses&) = delete;

  Status start(int rank, const std::string& host, int port, const std::string& secret, Words words);
  struct Ended {
    int rank = 0;
    enum class How { kWell, kFailed, kLost } how = How::kFailed;  // lost: killed, or parted from the serving process
    std::string text;  // "rank 2 was killed by signal 9"
  };
  // One that has ended, once.
  std::optional<Ended> ended();
  // Ends the process of `rank`, if there is one; ended() will tell.
  void kill(int rank);
  // Waits for all to end; those that have not by `timeout` are killed.
  void wait(Duration timeout);
  void wait_a_little();
  bool any() const { return !children_.empty(); }

 private:
  struct Child {
    int rank;
    pid_t pid;
  };
  std::vector<Child> children_;
};

}  // namespace braid::app
