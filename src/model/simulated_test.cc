// SPDX-License-Identifier: Apache-2.0
#include "model/simulated.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace braid::model {
namespace {

using testing::HasSubstr;
using namespace std::chrono_literals;

Curve curve(const char* text) { return Curve::parse(text, "simulated.itl-ms").value(); }

TEST(Curve, HasStraightLinesBetweenItsPointsAndGoesOnAfterThem) {
  const Curve c = curve("1:6,3:10,10:24");
  EXPECT_DOUBLE_EQ(c.at(0), 6);
  EXPECT_DOUBLE_EQ(c.at(2), 8);
  EXPECT_DOUBLE_EQ(c.at(10), 24);
  EXPECT_DOUBLE_EQ(c.at(20), 44);
  EXPECT_DOUBLE_EQ(curve("5:7.5").at(100), 7.5);
}

TEST(Curve, RefusesWhatIsNoListOfPointsAndQuotesIt) {
  for (const char* text : {"", "5", "1:2,", "1:2,1:3", "2:2,1:3", "a:1", "1:-2", "1:2;3:4", "1:nan"}) {
    const auto parsed = Curve::parse(text, "simulated.itl-ms");
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_THAT(parsed.error().message, HasSubstr("simulated.itl-ms: '" + std::string(text) + "'"));
  }
}

// Sequences of one model over one cache of eight blocks of four rows.
class Simulation : public testing::Test {
 protected:
  static constexpr int kBlock = 4;

  Simulation() {
    Config config;
    config.vocab_size = 64;
    config.eos_ids = {1};
    SimulatedOptions options;
    options.costs = {curve("1:10,101:110"), curve("1:5,11:15")};
    options.words.resize(32);
    std::iota(options.words.begin(), options.words.end(), 20);
    options.wait = [this](Duration time) { waited_ += time; };
    model_ = make_simulated(config, options);
    cache_ = std::make_unique<kv::Cache>(model_->cache_layout(), 8, kBlock);
  }

  std::int32_t slot(int position) const { return table_[static_cast<std::size_t>(position / kBlock)] * kBlock + position % kBlock; }

  void add(Batch& b, std::int32_t token, int position) const {
    b.token_ids.push_back(token);
    b.positions.push_back(position);
    b.slots.push_back(slot(position));
  }

  std::int32_t run(const Batch& batch) {
    const auto logits = model_->forward(batch, *cache_).value();
    const float* row = logits.row(logits.rows - 1);
    return static_cast<std::int32_t>(std::max_element(row, row + logits.cols) - row);
  }

  std::int32_t prefill(const std::vector<std::int32_t>& tokens, int from, int to) {
    Batch b;
    for (int i = from; i < to; ++i) add(b, tokens[static_cast<std::size_t>(i)], i);
    b.prefill = {{0, to - from, from, table_.data()}};
    b.logit_rows = {to - from - 1};
    return run(b);
  }

  std::int32_t decode(std::int32_t token, int position) {
    Batch b;
    add(b, token, position);
    b.decode = {{position, table_.data()}};
    b.logit_rows = {0};
    return run(b);
  }

  std::vector<std::int32_t> table_{3, 0, 5, 1};
  std::unique_ptr<Model> model_;
  std::unique_ptr<kv::Cache> cache_;
  Duration waited_{};
};

TEST_F(Simulation, SaysTheSameHoweverThePromptIsCut) {
  const std::vector<std::int32_t> prompt{7, 8, 9, 10, 11, 12};
  const std::int32_t whole = prefill(prompt, 0, 6);
  prefill(prompt, 0, 3);
  EXPECT_EQ(prefill(prompt, 3, 6), whole);
  prefill(prompt, 0, 5);
  EXPECT_EQ(decode(12, 5), whole);
  EXPECT_NE(prefill({7, 8, 9, 10, 13, 12}, 0, 6), whole);
}

TEST_F(Simulation, ALostBlockShowsInWhatItSays) {
  const std::vector<std::int32_t> prompt{7, 8, 9, 10, 11};
  const std::int32_t first = prefill(prompt, 0, 5);
  const std::int32_t second = decode(first, 5);
  table_[1] = 6;
  EXPECT_NE(decode(first, 5), second);
}

TEST_F(Simulation, ChunksTakeTheDifferenceOfTwoPromptsAndDecodingAddsItsOwn) {
  std::vector<std::int32_t> prompt(12, 9);
  prefill(prompt, 0, 11);
  EXPECT_EQ(waited_, 20ms);
  prefill(prompt, 0, 5);
  prefill(prompt, 5, 11);
  EXPECT_EQ(waited_, 40ms);
  decode(9, 11);
  EXPECT_EQ(waited_, 45ms);
}

}  // namespace
}  // namespace braid::model
