// SPDX-License-Identifier: Apache-2.0
#include "serve/blocks.h"

#include <gtest/gtest.h>

namespace braid::serve {
namespace {

class Script final : public BlockListener {
 public:
  void begin(const Block& block, std::size_t index) override { text += "(" + std::to_string(index) + block.name; }
  void add(const Block&, std::size_t, std::string_view piece) override { text += ":" + std::string(piece); }
  void end(const Block&, std::size_t) override { text += ")"; }
  std::string text;
};

TEST(Blocks, open_and_close_in_the_order_in_which_the_answer_comes) {
  Blocks blocks;
  Script script;
  blocks.take({.content = "", .reasoning = "hm", .calls = {}}, &script);
  blocks.take({.content = "so", .reasoning = "!", .calls = {}}, &script);
  blocks.take({.content = "", .reasoning = "", .calls = {{0, "c0", "f", "{"}}}, &script);
  blocks.take({.content = "", .reasoning = "", .calls = {{0, "", "", "}"}, {1, "c1", "g", ""}}}, &script);
  blocks.finish(&script);
  EXPECT_EQ(script.text, "(0:hm:!)(1:so)(2f:{:})(3g)");
  EXPECT_TRUE(blocks.has_calls());
  EXPECT_EQ(blocks.all()[2].text, "{}");
  EXPECT_EQ(blocks.text_of(Block::Kind::kReasoning), "hm!");
}

}  // namespace
}  // namespace braid::serve
