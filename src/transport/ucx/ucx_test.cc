// SPDX-License-Identifier: Apache-2.0
#include "transport/ucx/ucx.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <random>

namespace braid::transport::ucx {
namespace {

using testing::HasSubstr;

constexpr Duration kLong = std::chrono::seconds(60);
TimePoint in(Duration d) { return std::chrono::steady_clock::now() + d; }
std::unique_ptr<fabric::FarTransport> make() { return transport({.dead_after = kLong, .connect_time = kLong}).value(); }

// Until `done`; the region's wait is asked again by signals only, so it looks every few milliseconds.
bool comes_true(fabric::Transport& t, fabric::Region& region, const std::function<bool()>& done) {
  for (const TimePoint end = in(kLong); in({}) < end;) {
    if (t.wait(region, done, in(std::chrono::milliseconds(5)))) return true;
  }
  return false;
}

TEST(Ucx, RefusesAnAddressThatIsNotOfThisMachineAndAForeignDescription) {
  EXPECT_THAT(transport({.address = "192.0.2.1"}).error().message, HasSubstr("no network interface of this machine has the address 192.0.2.1"));
  EXPECT_THAT(make()->connect("shm:1:2:3").error().message, HasSubstr("not one of UCX"));
}

TEST(Ucx, SaysWhichPathItTook) {
  const auto a = make(), b = make();
  const auto region = a->register_memory(4096).value();
  const auto remote = b->connect(region->descriptor()).value();
  EXPECT_EQ(remote->path().name, "ucx tcp/lo");
}

TEST(Ucx, APeerMayReleaseItsMemoryAndOfferNew) {
  const auto a = make(), b = make();
  for (int round = 0; round < 3; ++round) {
    auto region = a->register_memory(4096).value();
    const auto mine = b->register_memory(64).value();
    auto remote = b->connect(region->descriptor()).value();
    const std::uint64_t value = 5;
    ASSERT_TRUE(b->write(*remote, 8, std::as_bytes(std::span(&value, 1))).ok());
    ASSERT_TRUE(b->signal(*remote, 0, 1).ok());
    ASSERT_TRUE(a->wait(*region, [&] { return region->signal(0) == 1; }, in(kLong)));
    EXPECT_EQ(std::memcmp(region->memory().data() + 8, &value, 8), 0);
    EXPECT_TRUE(remote->alive());
    region.reset();
    EXPECT_TRUE(comes_true(*b, *mine, [&] { return !remote->alive(); }));
    EXPECT_THAT(b->signal(*remote, 0, 2).error().message, HasSubstr("is gone"));
  }
}

TEST(Ucx, AKilledProcessIsDeadAtOnceAndItsPlaceMayBeTakenByAnother) {
  const auto t = make();
  const auto mine = t->register_memory(64).value();
  for (int life = 0; life < 2; ++life) {
    int pipe_ends[2];
    ASSERT_EQ(pipe(pipe_ends), 0);
    const pid_t child = fork();
    if (child == 0) {
      execl("/proc/self/exe", "ucx_test", "--peer", std::to_string(pipe_ends[1]).c_str(), nullptr);
      _exit(1);
    }
    close(pipe_ends[1]);
    std::string address;
    for (char c; read(pipe_ends[0], &c, 1) == 1;) address += c;
    close(pipe_ends[0]);
    auto remote = t->connect(address).value();
    ASSERT_TRUE(t->signal(*remote, 0, 1).ok());
    EXPECT_TRUE(remote->alive());
    const auto read = t->prepare(*remote, fabric::Direction::kRead, {{mine->memory().data(), 0, 64}}).value();
    kill(child, SIGSTOP);
    ASSERT_EQ(waitpid(child, nullptr, WUNTRACED), child);  // it answers no more
    ASSERT_TRUE(t->post(*read).ok());
    EXPECT_FALSE(t->poll(*read).value());
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    EXPECT_TRUE(comes_true(*t, *mine, [&] { return !remote->alive(); }));
    EXPECT_THAT(t->poll(*read).error().message, HasSubstr("is gone"));
  }
}

TEST(Ucx, AWaitThatNothingEndsIsOverInTime) {
  const auto t = make();
  const auto region = t->register_memory(64).value();
  EXPECT_FALSE(t->wait(*region, [] { return false; }, in(std::chrono::milliseconds(5))));
}

TEST(Ucx, ReadsPiecesOfEverySizeAgainAndAgain) {
  const auto a = make(), b = make();
  constexpr std::size_t kBytes = std::size_t{4} << 20;
  const auto region = a->register_memory(kBytes).value();
  const auto mine = b->register_memory(kBytes).value();
  const auto remote = b->connect(region->descriptor()).value();
  std::mt19937 random(3);
  std::vector<fabric::Piece> pieces;
  for (std::size_t at = 0; at < kBytes;) {
    const std::size_t bytes = std::min<std::size_t>(kBytes - at, random() % 4 == 0 ? random() % 700000 : random() % 9000);
    pieces.push_back({mine->memory().data() + at, at, bytes});
    at += bytes;
  }
  std::shuffle(pieces.begin(), pieces.end(), random);
  const auto transfer = b->prepare(*remote, fabric::Direction::kRead, pieces).value();
  for (int round = 0; round < 5; ++round) {
    for (std::byte& byte : region->memory()) byte = static_cast<std::byte>(random());
    ASSERT_TRUE(b->post(*transfer).ok());
    while (!b->poll(*transfer).value()) {
    }
    ASSERT_EQ(std::memcmp(mine->memory().data(), region->memory().data(), kBytes), 0);
  }
}

TEST(Ucx, AReadOfMemoryThatIsReleasedMeanwhileEnds) {
  const auto a = make(), b = make();
  constexpr std::size_t kBytes = std::size_t{16} << 20;
  const auto mine = b->register_memory(kBytes).value();
  for (int round = 0; round < 10; ++round) {
    auto region = a->register_memory(kBytes).value();
    const auto remote = b->connect(region->descriptor()).value();
    const auto transfer = b->prepare(*remote, fabric::Direction::kRead, {{mine->memory().data(), 0, kBytes}}).value();
    ASSERT_TRUE(b->post(*transfer).ok());
    region.reset();
    EXPECT_TRUE(comes_true(*b, *mine, [&] {
      const auto done = b->poll(*transfer);
      return !done.ok() || *done;
    }));
  }
}

// The other process of a test: announces a region on a pipe and waits to be killed.
int peer(int fd) {
  const auto t = make();
  const auto region = t->register_memory(64).value();
  const std::string address = region->descriptor();
  if (write(fd, address.data(), address.size()) < 0) return 1;
  close(fd);
  for (;;) ::pause();
}

}  // namespace
}  // namespace braid::transport::ucx

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--peer") return braid::transport::ucx::peer(std::atoi(argv[2]));
  testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
