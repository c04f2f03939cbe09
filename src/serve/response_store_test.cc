// SPDX-License-Identifier: Apache-2.0
#include "serve/response_store.h"

#include <gtest/gtest.h>

namespace braid::serve {
namespace {

TEST(ResponseStore, keeps_the_newest_within_its_bound) {
  ResponseStore store(10);
  store.put("a", {"1234", ""});
  store.put("b", {"12", "34"});
  store.put("c", {"1234", ""});
  EXPECT_FALSE(store.find("a"));
  EXPECT_EQ(store.find("b")->messages, "34");
  store.put("d", {"12345678901", ""});
  EXPECT_FALSE(store.find("d")) << "larger than the store";
  EXPECT_TRUE(store.find("c"));
}

TEST(ResponseStore, what_is_removed_makes_room) {
  ResponseStore store(8);
  store.put("a", {"1234", ""});
  store.put("b", {"1234", ""});
  EXPECT_TRUE(store.remove("a"));
  EXPECT_FALSE(store.remove("a"));
  store.put("c", {"1234", ""});
  EXPECT_TRUE(store.find("b"));
  EXPECT_TRUE(store.find("c"));
}

}  // namespace
}  // namespace braid::serve
