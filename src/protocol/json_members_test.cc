// SPDX-License-Identifier: Apache-2.0
#include "protocol/json_members.h"

#include <gtest/gtest.h>

namespace braid::protocol {
namespace {

TEST(JsonMembers, AreFoundWithoutReadingWhatTheyHold) {
  const std::string text = R"( {"a" : [1, {"b": "}]"}], "quote\"d": "x\\" , "n": -1.5e3,"o":{} } )";
  const auto members = json_members(text);
  ASSERT_TRUE(members.ok()) << members.error().message;
  ASSERT_EQ(members->size(), 4u);
  EXPECT_EQ(find_member(*members, "a"), R"([1, {"b": "}]"}])");
  EXPECT_EQ(find_member(*members, "quote\\\"d"), R"("x\\")");
  EXPECT_EQ(find_member(*members, "n"), "-1.5e3");
  EXPECT_EQ(find_member(*members, "b"), "");
}

TEST(JsonMembers, RefuseWhatIsNotOneObject) {
  for (const char* text : {"", "[]", "{", R"({"a"})", R"({"a":})", R"({"a":1)", R"({"a":"1})", R"({"a":[1})", R"({"a":1}{)", R"({"a":1,})"}) {
    EXPECT_FALSE(json_members(text).ok()) << text;
  }
}

TEST(JsonMembers, AreSetAddedAndTakenOut) {
  const auto members = *json_members(R"({"model": "m", "max_tokens": 5, "stream": true})");
  EXPECT_EQ(edit_members(members, {{"max_tokens", "1"}, {"stream", std::nullopt}, {"new", "null"}, {"absent", std::nullopt}}),
            R"({"model":"m","max_tokens":1,"new":null})");
  EXPECT_EQ(edit_members(*json_members(R"({"a":1,"a":2})"), {{"a", "3"}}), R"({"a":3})");
  EXPECT_EQ(edit_members({}, {}), "{}");
}

}  // namespace
}  // namespace braid::protocol
