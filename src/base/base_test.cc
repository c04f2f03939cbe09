// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <thread>

#include "base/bounded_queue.h"
#include "base/result.h"

namespace braid {
namespace {

Result<int> half(int x) {
  if (x % 2) return invalid_argument("odd", "x");
  return x / 2;
}
Result<int> quarter(int x) {
  ASSIGN_OR_RETURN(int h, half(x));
  return half(h);
}

TEST(Result, CarriesTheValueOrTheFirstError) {
  EXPECT_EQ(*quarter(8), 2);
  ASSERT_FALSE(quarter(6).ok());
  EXPECT_EQ(quarter(6).error().param, "x");
  EXPECT_EQ(quarter(3).error().within("file").message, "file: odd");
}

TEST(BoundedQueue, RefusesWhatDoesNotFitAndKeepsOrder) {
  BoundedQueue<int> q(2);
  EXPECT_TRUE(q.try_push(1));
  EXPECT_TRUE(q.try_push(2));
  EXPECT_FALSE(q.try_push(3));
  EXPECT_EQ(q.take_all(), (std::vector<int>{1, 2}));
  EXPECT_TRUE(q.take_all().empty());
}

TEST(BoundedQueue, WakesAWaiterAndEndsWaitsOnClose) {
  BoundedQueue<int> q(2);
  std::thread producer([&] { EXPECT_TRUE(q.try_push(7)); });
  EXPECT_EQ(q.wait_all(std::chrono::seconds(60)), std::vector<int>{7});
  producer.join();
  std::thread closer([&] { q.close(); });
  EXPECT_TRUE(q.wait_all(std::chrono::seconds(60)).empty());
  closer.join();
  EXPECT_FALSE(q.try_push(1));
}

TEST(BoundedQueue, GivesOneAtATimeAndNoneAfterClose) {
  BoundedQueue<int> q(2);
  EXPECT_TRUE(q.try_push(1));
  EXPECT_TRUE(q.try_push(2));
  EXPECT_EQ(q.wait_one(std::chrono::seconds(60)), 1);
  EXPECT_EQ(q.wait_one(std::chrono::seconds(60)), 2);
  EXPECT_TRUE(q.try_push(3));
  q.close();
  EXPECT_EQ(q.wait_one(std::chrono::seconds(60)), std::nullopt);
}

}  // namespace
}  // namespace braid
