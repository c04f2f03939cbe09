// SPDX-License-Identifier: Apache-2.0
#include "config/reference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace braid::config {
namespace {

using testing::HasSubstr;
using testing::Not;

struct Nested {
  int depth = 2;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("depth", self.depth, {.help = "How deep"});
  }
};

struct Settings {
  int port = 8000;
  std::optional<std::string> key;
  std::string policy = "fcfs";
  Nested nested;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("port", self.port, {.help = "TCP port", .min = 1, .max = 65535, .short_name = "p"});
    v.field("key", self.key, {.help = "Key", .environment = "THE_KEY", .secret = true});
    v.field("policy", self.policy, {.help = "Order", .choices = {"fcfs", "priority"}});
    v.section("nested-config", self.nested, "What lies deeper.");
  }
};

TEST(Reference, HelpShowsEveryFlagWithDefaultAndRangeInColumns) {
  const std::string text =
      help<Settings>({"braid serve MODEL [flags]", "Serves a model.", "Example: braid serve x"});
  EXPECT_EQ(text,
            "Usage: braid serve MODEL [flags]\n"
            "\n"
            "Serves a model.\n"
            "\n"
            "General\n"
            "  --port, -p N                    TCP port. [default 8000; 1 to 65535]\n"
            "  --key TEXT                      Key. [default unset; also $THE_KEY]\n"
            "  --policy fcfs|priority          Order. [default fcfs]\n"
            "\n"
            "--nested-config\n"
            "  What lies deeper.\n"
            "  --nested-config.depth N         How deep. [default 2]\n"
            "\n"
            "Example: braid serve x\n");
}

TEST(Reference, HelpKeepsToAHundredColumns) {
  struct Long {
    int x = 1;
    static void describe(Long& self, TableBuilder& v) {
      v.field("a-rather-long-name-for-a-flag-indeed",
              self.x,
              {.help = "A sentence that goes on and on until it has to be broken somewhere in the "
                       "middle because lines end at column one hundred"});
    }
  };
  std::size_t longest = 0;
  std::size_t line = 0;
  for (char c : help<Long>({"u", "s", ""})) {
    line = c == '\n' ? 0 : line + 1;
    longest = std::max(longest, line);
  }
  EXPECT_LE(longest, 100u);
}

TEST(Reference, MarkdownHasATableAGroupAndEscapesBars) {
  const std::string text = markdown<Settings>("braid serve", "Serves.");
  EXPECT_THAT(text, HasSubstr("## braid serve\n\nServes.\n\n### General\n"));
  EXPECT_THAT(text, HasSubstr("| `--port` `-p` | `8000` | TCP port. Range: 1 to 65535. |"));
  EXPECT_THAT(text, HasSubstr("| `--policy` | `fcfs` | Order. One of: fcfs, priority. |"));
  EXPECT_THAT(text, HasSubstr("### --nested-config\n\nWhat lies deeper.\n"));
}

TEST(Reference, ShownValuesNameTheirSourceAndHideSecrets) {
  Settings settings;
  const std::vector<std::string> args = {"--key", "swordfish", "-p", "81"};
  const auto parsed = parse(settings, args);
  ASSERT_TRUE(parsed.ok());
  const std::string text = show_values(table_of(settings), *parsed);
  EXPECT_THAT(text, HasSubstr("port                 81        flag -p\n"));
  EXPECT_THAT(text, HasSubstr("policy               fcfs      default\n"));
  EXPECT_THAT(text, Not(HasSubstr("swordfish")));
  const std::string json = show_values_json(table_of(settings), *parsed);
  EXPECT_THAT(json, HasSubstr("\"detail\": \"-p\""));
  EXPECT_THAT(json, Not(HasSubstr("swordfish")));
}

}  // namespace
}  // namespace braid::config
