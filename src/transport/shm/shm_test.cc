// SPDX-License-Identifier: Apache-2.0
#include "transport/shm/shm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

namespace braid::transport::shm {
namespace {

using testing::HasSubstr;

TimePoint in(Duration d) { return std::chrono::steady_clock::now() + d; }

TEST(Shm, TellsAForeignOrDeadAddressFromALivingOne) {
  const auto t = transport({});
  EXPECT_THAT(t->connect("tcp:1:2").error().message, HasSubstr("'tcp:1:2' is not the address"));
  EXPECT_THAT(t->connect("shm:1:x").error().message, HasSubstr("not shm:PID:FD:NONCE"));
  EXPECT_THAT(t->connect("shm:999999999:3:1").error().message, HasSubstr("process 999999999"));
  auto region = t->register_memory(4096).value();
  const std::string address = region->descriptor();
  EXPECT_TRUE(t->connect(address)->get()->alive());
  const std::string other = address.substr(0, address.rfind(':')) + ":12345";
  EXPECT_THAT(t->connect(other).error().message, HasSubstr("no longer has the shared memory"));
}

TEST(Shm, NoticesThatTheOwnerReleasedOrWasKilled) {
  const auto t = transport({});
  auto region = t->register_memory(64).value();
  auto remote = t->connect(region->descriptor()).value();
  region.reset();
  EXPECT_FALSE(remote->alive());

  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto mine = transport({})->register_memory(64);
    const std::string address = mine.value()->descriptor();
    if (write(pipe_ends[1], address.data(), address.size()) < 0) _exit(1);
    for (;;) ::pause();
  }
  char text[200] = {};
  ASSERT_GT(read(pipe_ends[0], text, sizeof text - 1), 0);
  auto childs = t->connect(text).value();
  EXPECT_TRUE(childs->alive());
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_FALSE(childs->alive());
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

TEST(Shm, LeavesNoNameBehind) {
  const auto count = [] {
    return std::distance(std::filesystem::directory_iterator("/dev/shm"), std::filesystem::directory_iterator());
  };
  const auto before = count();
  auto region = transport({})->register_memory(1 << 20).value();
  EXPECT_EQ(count(), before);
}

TEST(Shm, AWaitThatNothingEndsIsOverInTime) {
  const auto t = transport({});
  auto region = t->register_memory(64).value();
  EXPECT_FALSE(t->wait(*region, [] { return false; }, in(std::chrono::milliseconds(5))));
}

}  // namespace
}  // namespace braid::transport::shm
