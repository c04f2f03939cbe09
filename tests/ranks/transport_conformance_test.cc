// SPDX-License-Identifier: Apache-2.0
// What fabric/transport.h and fabric/group.h promise, on every transport and on one that misbehaves.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "fabric/paths.h"
#include "fabric/testing/local_bootstrap.h"
#include "tests/ranks/faulty_transport.h"
#include "transport/shm/shm.h"
#include "transport/ucx/ucx.h"

namespace braid::fabric {
namespace {

using ::testing::HasSubstr;
using testing::run_ranks;

constexpr Duration kLong = std::chrono::seconds(60);

struct Medium {
  const char* name;
  std::unique_ptr<Transport> (*make)(Rank rank);
};

std::unique_ptr<Transport> shm(Rank) { return transport::shm::transport({}); }
std::unique_ptr<Transport> sleepy_shm(Rank) { return transport::shm::transport({Duration::zero()}); }
std::unique_ptr<Transport> faulty(Rank rank) {
  return std::make_unique<testing::FaultyTransport>(shm(rank), static_cast<unsigned>(rank) + 1, 0);
}

std::unique_ptr<FarTransport> far() { return transport::ucx::transport({.dead_after = kLong, .connect_time = kLong}).value(); }
std::unique_ptr<Transport> ucx(Rank) { return far(); }
// Even and odd ranks live on two hosts.
std::unique_ptr<Transport> mixed(Rank rank) { return mixed_transport(sleepy_shm(rank), far(), rank % 2 ? "odd" : "even"); }

class TransportConformance : public ::testing::TestWithParam<Medium> {};
INSTANTIATE_TEST_SUITE_P(All, TransportConformance,
                         ::testing::Values(Medium{"shm", shm}, Medium{"shm_without_spinning", sleepy_shm}, Medium{"faulty", faulty}, Medium{"ucx", ucx},
                                           Medium{"shm_and_ucx", mixed}),
                         [](const auto& info) { return std::string(info.param.name); });

std::span<const std::byte> bytes_of(const std::uint64_t& value) { return std::as_bytes(std::span(&value, 1)); }

TEST_P(TransportConformance, MovesPiecesBothWaysAndRefusesThoseOutside) {
  const auto t = GetParam().make(0);
  auto region = t->register_memory(1 << 16).value();
  auto mine = t->register_memory(1 << 16).value();
  auto remote = t->connect(region->descriptor()).value();
  std::byte* local = mine->memory().data();
  for (int i = 0; i < 1000; ++i) local[i] = static_cast<std::byte>(i % 251);
  const auto finish = [&](Direction direction, std::vector<Piece> pieces) {
    auto transfer = t->prepare(*remote, direction, std::move(pieces)).value();
    for (int again = 0; again < 2; ++again) {
      ASSERT_TRUE(t->post(*transfer).ok());
      while (!t->poll(*transfer).value()) {
      }
    }
  };
  finish(Direction::kWrite, {{local, 5000, 500}, {local + 500, 100, 500}});
  EXPECT_EQ(std::memcmp(region->memory().data() + 5000, local, 500), 0);
  EXPECT_EQ(std::memcmp(region->memory().data() + 100, local + 500, 500), 0);
  finish(Direction::kRead, {{local + 2000, 5000, 500}});
  EXPECT_EQ(std::memcmp(local + 2000, local, 500), 0);
  EXPECT_THAT(t->prepare(*remote, Direction::kWrite, {{local, 65000, 1000}}).error().message, HasSubstr("outside a region of 65536"));
}

TEST_P(TransportConformance, ASignalComesAfterTheBytesThatWereWrittenBeforeIt) {
  constexpr std::uint64_t kRounds = 2000;
  run_ranks(2, [&](Bootstrap& b) {
    const auto t = GetParam().make(b.rank());
    auto window = create_window(b, *t, "test", 4096, kLong).value();
    const Rank peer = 1 - b.rank();
    for (std::uint64_t round = 1; round <= kRounds; ++round) {
      const std::uint64_t value = round * 1000003 + static_cast<std::uint64_t>(b.rank());
      for (std::size_t i = 0; i < 8; ++i) ASSERT_TRUE(window->put(peer, i * 256 + round % 2 * 8, bytes_of(value)).ok());
      ASSERT_TRUE(window->signal(peer, 3, round).ok());
      ASSERT_TRUE(window->wait(peer, 3, round, {"test"}).ok());
      for (std::size_t i = 0; i < 8; ++i) {
        std::uint64_t seen = 0;
        std::memcpy(&seen, window->local().data() + i * 256 + round % 2 * 8, 8);
        ASSERT_EQ(seen, round * 1000003 + static_cast<std::uint64_t>(peer));
      }
    }
    ASSERT_TRUE(b.all_gather("done").ok());
  });
}

TEST_P(TransportConformance, AllGathersBySmallMessagesWithManyRanks) {
  for (const int size : {1, 2, 3, 5, 12, 16}) {
    run_ranks(size, [&](Bootstrap& b) {
      const auto t = GetParam().make(b.rank());
      auto gather = AllGather::create(b, *t, 8, kLong).value();
      for (std::uint64_t round = 0; round < 100; ++round) {
        const std::uint64_t mine = round * 100 + static_cast<std::uint64_t>(b.rank());
        ASSERT_TRUE(gather->post(bytes_of(mine)).ok());
        const auto all = gather->collect({"test"});
        ASSERT_TRUE(all.ok()) << all.error().message;
        for (Rank r = 0; r < size; ++r) {
          std::uint64_t seen = 0;
          std::memcpy(&seen, all->data() + all->size() / static_cast<std::size_t>(size) * static_cast<std::size_t>(r), 8);
          ASSERT_EQ(seen, round * 100 + static_cast<std::uint64_t>(r));
        }
      }
      ASSERT_TRUE(b.all_gather("done").ok());
    });
  }
}

TEST_P(TransportConformance, ASleepingRankIsWokenByAPeerThatBeginsAndByItsOwnBell) {
  run_ranks(2, [&](Bootstrap& b) {
    const auto t = GetParam().make(b.rank());
    auto gather = AllGather::create(b, *t, 8, kLong).value();
    const TimePoint never = std::chrono::steady_clock::now() + kLong;
    if (b.rank() == 0) {
      std::atomic<bool> rung{false};
      std::thread bell([&] {
        rung = true;
        gather->ring();
      });
      gather->sleep([&] { return rung.load(); }, never);
      bell.join();
      ASSERT_TRUE(gather->post({}).ok());
    } else {
      gather->sleep([] { return false; }, never);
      EXPECT_TRUE(gather->called());
      ASSERT_TRUE(gather->post({}).ok());
    }
    ASSERT_TRUE(gather->collect({"test"}).ok());
    ASSERT_TRUE(b.all_gather("done").ok());
  });
}

TEST_P(TransportConformance, AWaitForNothingNamesRankPeerPhaseLayerAndNumbers) {
  run_ranks(2, [&](Bootstrap& b) {
    const auto t = GetParam().make(b.rank());
    auto window = create_window(b, *t, "dispatch window", 64, std::chrono::milliseconds(30)).value();
    if (b.rank() == 0) {
      const Status status = window->wait(1, 2, 7, {"dispatch", 4});
      EXPECT_EQ(status.error().code, ErrorCode::kDeadlineExceeded);
      EXPECT_THAT(status.error().message, HasSubstr("rank 0 waits for rank 1 in dispatch of layer 4"));
      EXPECT_THAT(status.error().message, HasSubstr("expected 7, seen 0"));
    }
    ASSERT_TRUE(b.all_gather("done").ok());
  });
}

TEST_P(TransportConformance, EveryPathIsMeasuredAndNamed) {
  for (const int size : {1, 2, 5}) {
    run_ranks(size, [&](Bootstrap& b) {
      const auto t = GetParam().make(b.rank());
      const auto paths = measure_paths(b, *t, kLong);
      ASSERT_TRUE(paths.ok()) << paths.error().message;
      ASSERT_EQ(paths->size(), static_cast<std::size_t>(size));
      for (Rank r = 0; r < size; ++r) {
        const MeasuredPath& path = (*paths)[static_cast<std::size_t>(r)];
        EXPECT_EQ(path.measured > 0, r != b.rank());
        EXPECT_EQ(path.name.empty(), r == b.rank());
      }
    });
  }
}

TEST(Paths, AreSuspiciousWhenTheyAreManyTimesSlowerThanExpected) {
  EXPECT_TRUE(suspicious({"tcp", 10e9, 1e9}));
  EXPECT_FALSE(suspicious({"tcp", 10e9, 5e9}));
  EXPECT_FALSE(suspicious({"tcp", 0, 1}));
}

TEST(FaultyTransport, ALostSignalEndsInAnErrorAndNeverInWrongBytes) {
  run_ranks(2, [&](Bootstrap& b) {
    testing::FaultyTransport t(shm(0), static_cast<unsigned>(b.rank()) + 1, 20);
    auto gather = AllGather::create(b, t, 8, std::chrono::milliseconds(100)).value();
    bool failed = false;
    for (std::uint64_t round = 0; round < 1000 && !failed; ++round) {
      ASSERT_TRUE(gather->post(bytes_of(round)).ok());
      const auto all = gather->collect({"test"});
      if (!all.ok()) {
        EXPECT_THAT(all.error().message, HasSubstr("nothing came within 0.1 s"));
        failed = true;
        continue;
      }
      for (std::size_t r = 0; r < 2; ++r) {
        std::uint64_t seen = 0;
        std::memcpy(&seen, all->data() + r * all->size() / 2, 8);
        ASSERT_EQ(seen, round);
      }
    }
    EXPECT_TRUE(failed);
    ASSERT_TRUE(b.all_gather("done").ok());
  });
}

}  // namespace
}  // namespace braid::fabric
