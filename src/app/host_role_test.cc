// SPDX-License-Identifier: Apache-2.0
#include "app/host_role.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace braid::app {
namespace {

using ::testing::HasSubstr;

ParallelSettings of(int size) {
  ParallelSettings p;
  p.size = size;
  p.secret = "s";
  return p;
}

TEST(HostRole, TheLeaderServesAllRanksUnlessHostsBalanceTheirOwn) {
  ParallelSettings p = of(8);
  p.size_local = 4;
  HostRole role = role_of(p);
  EXPECT_TRUE(role.leads);
  EXPECT_EQ(role.started, (RankRange{0, 4}));
  EXPECT_EQ(role.connected, (RankRange{0, 8}));
  EXPECT_TRUE(role.serves(7));
  p.hybrid_lb = true;
  role = role_of(p);
  EXPECT_TRUE(role.leads);
  EXPECT_EQ(role.connected, (RankRange{0, 8}));
  EXPECT_TRUE(role.serves(3));
  EXPECT_FALSE(role.serves(4));
  p.start_rank = 4;
  role = role_of(p);
  EXPECT_FALSE(role.leads);
  EXPECT_EQ(role.started, (RankRange{4, 4}));
  EXPECT_EQ(role.connected, (RankRange{4, 4}));
  EXPECT_FALSE(role.serves(3));
  EXPECT_TRUE(role.serves(4));
}

TEST(HostRole, AServerOfOneRankStartsAndServesThatOne) {
  ParallelSettings p = of(3);
  p.rank = 2;
  EXPECT_FALSE(role_of(p).leads);
  EXPECT_EQ(role_of(p).started, (RankRange{2, 1}));
  EXPECT_EQ(p.local_size(), 1);
  p.size_local = 3;  // two other servers share the host
  EXPECT_TRUE(role_of(p).serves(2));
  EXPECT_FALSE(role_of(p).serves(0));
  EXPECT_EQ(p.local_size(), 3);
  p.rank = 0;
  EXPECT_TRUE(role_of(p).leads);
  EXPECT_EQ(role_of(p).connected, (RankRange{0, 3}));
  EXPECT_TRUE(role_of(p).serves(0));
  EXPECT_FALSE(role_of(p).serves(2));
}

TEST(HostRole, SettingsThatDoNotGoTogetherAreRefusedWithASentence) {
  const auto refused = [](auto change) {
    ParallelSettings p = of(4);
    change(p);
    const Status status = check_parallel(p);
    return status.ok() ? "" : status.error().message;
  };
  EXPECT_EQ(refused([](auto&) {}), "");
  EXPECT_EQ(refused([](auto& p) { p.rank = 3; }), "");
  EXPECT_THAT(refused([](auto& p) { p.rank = 4; }), HasSubstr("--data-parallel-rank 4 does not exist with --data-parallel-size 4"));
  EXPECT_THAT(refused([](auto& p) { p.rank = 1, p.hybrid_lb = true; }), HasSubstr("only one of"));
  EXPECT_THAT(refused([](auto& p) { p.external_lb = true; }), HasSubstr("needs --data-parallel-rank"));
  EXPECT_THAT(refused([](auto& p) { p.size = 1, p.hybrid_lb = true; }), HasSubstr("needs --data-parallel-size 2 or more"));
  EXPECT_THAT(refused([](auto& p) { p.rank = 1, p.enable_elastic_ep = true; }), HasSubstr("one server for all ranks"));
  EXPECT_THAT(refused([](auto& p) { p.start_rank = 2, p.size_local = 3; }), HasSubstr("--data-parallel-size-local 3 from --data-parallel-start-rank 2 on does not fit"));
  EXPECT_THAT(refused([](auto& p) { p.start_rank = 4; }), HasSubstr("does not fit --data-parallel-size 4"));
  EXPECT_THAT(refused([](auto& p) { p.size_local = 0; }), HasSubstr("--data-parallel-size-local 0 is for a --headless host"));
  EXPECT_EQ(refused([](auto& p) { p.size_local = 0, p.headless = true; }), "");
  EXPECT_THAT(refused([](auto& p) { p.address = "0.0.0.0"; }), HasSubstr("would let every network in"));
  EXPECT_THAT(refused([](auto& p) { p.secret = "", p.rank = 1; }), HasSubstr("BRAID_DATA_PARALLEL_SECRET"));
  EXPECT_THAT(refused([](auto& p) { p.secret = "", p.headless = true; }), HasSubstr("--headless needs the secret"));
}

}  // namespace
}  // namespace braid::app
