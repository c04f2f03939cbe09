// SPDX-License-Identifier: Apache-2.0
#include "kv/page_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "kv/cache.h"

namespace braid::kv {
namespace {

using ::testing::ElementsAre;

const KeySpan kAll{}, kWindow{10, 0}, kChunk{0, 8};

TEST(PageTable, grows_by_whole_blocks_or_not_at_all) {
  BlockPool pool(3);
  PageTable table(4);
  EXPECT_TRUE(table.grow(pool, 5));
  EXPECT_EQ(pool.used(), 2);
  EXPECT_TRUE(table.grow(pool, 8));
  EXPECT_EQ(pool.used(), 2);
  EXPECT_FALSE(table.grow(pool, 13));
  EXPECT_EQ(pool.free(), 1);
  EXPECT_EQ(table.slot(6), table.at(0, 1) * 4 + 2);
}

TEST(PageTable, frees_its_tail_first_so_that_prefixes_live_longest) {
  BlockPool pool(5);
  PageTable table(4);
  ASSERT_TRUE(table.grow(pool, 12));
  table.release(pool);
  EXPECT_THAT(pool.free_list(), ElementsAre(3, 4, 2, 1, 0));
}

TEST(LayerGroups, are_as_large_as_the_smallest_kind_of_layers) {
  std::vector<KeySpan> layers;
  for (int i = 0; i < 48; ++i) layers.push_back(i % 4 == 3 ? kAll : kChunk);
  const LayerGroups groups(layers);
  ASSERT_EQ(groups.size(), 4);
  EXPECT_TRUE(groups.span(0).all()) << "those that see all come first";
  EXPECT_EQ(groups.places(48), 12);
  EXPECT_EQ(groups.place_of(3).group, 0);
  EXPECT_EQ(groups.place_of(47).index, 11);
  EXPECT_EQ(groups.place_of(46).group, 3);
  EXPECT_EQ(groups.place_of(46).index, 11);
}

TEST(LayerGroups, one_kind_a_little_larger_than_another_stays_whole) {
  std::vector<KeySpan> layers;
  for (int i = 0; i < 24; ++i) layers.push_back(i % 2 == 0 ? kWindow : kAll);
  layers.push_back(kAll);  // a draft module's
  const LayerGroups groups(layers);
  EXPECT_EQ(groups.size(), 2);
  EXPECT_EQ(groups.places(25), 13);
  EXPECT_EQ(groups.layers_of(0, 25), 13);
  EXPECT_EQ(groups.layers_of(1, 25), 12);
}

TEST(LayerGroups, a_cache_has_the_places_of_one_group) {
  Layout layout{3, 2, DType::kF32};
  layout.spans = {kAll, kWindow, kWindow};
  const Cache whole(layout, 4, 4), grouped(layout.grouped(), 4, 4);
  EXPECT_EQ(whole.bytes(), 3 * grouped.bytes());
  EXPECT_EQ(whole.group_of(2), 0);
  EXPECT_EQ(grouped.group_of(2), 2);
  EXPECT_EQ(grouped.layer(0).data, grouped.layer(2).data) << "blocks tell them apart";
}

Paging paging_of(const std::vector<KeySpan>& layers, int most_at_once) { return {4, LayerGroups(layers), most_at_once}; }

TEST(Paging, long_sequences_need_blocks_of_a_window_only) {
  const Paging paging = paging_of({kAll, kWindow}, 6);
  EXPECT_EQ(paging.most_blocks(4), 2);
  EXPECT_EQ(paging.most_blocks(400), 100 + 5);
  EXPECT_EQ(paging.most_blocks_from(400, 404), 101 + 4) << "97 of the window's have been left behind";
  EXPECT_EQ(paging.longest(105), 400);
  EXPECT_EQ(paging.longest(104), 396);
  EXPECT_EQ(paging_of({kWindow}, 6).longest(5), 1 << 30) << "nothing grows";
}

// A sequence computed in random steps, with drafts: what a query sees is held, what is held is bounded,
// and a reservation is never given to others.
TEST(PageTable, holds_what_queries_see_and_no_more_than_was_said) {
  std::mt19937 random(7);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (int round = 0; round < 300; ++round) {
    const int step = 1 + below(12), prompt = 1 + below(90);
    const Paging paging = paging_of({kAll, kWindow, kChunk}, step);
    const auto most = static_cast<std::int32_t>(paging.most_blocks(prompt + 40));
    BlockPool pool(most);
    PageTable table(paging);
    table.begin(0);
    table.reserve(pool, prompt);
    std::int32_t computed = 0, length = prompt;
    while (length < prompt + 40) {
      const int count = std::min(1 + below(step), length - computed);
      if (computed < prompt) {
        ASSERT_EQ(table.missing(std::min(prompt, computed + count)), 0) << "it was reserved";
      }
      ASSERT_TRUE(table.grow(pool, computed + count));
      for (std::int32_t p = computed; p < computed + count; ++p) {
        for (int g = 0; g < 3; ++g) {
          for (std::int64_t key = paging.groups->span(g).first_key(p); key <= p; ++key) {
            ASSERT_TRUE(table.holds(g, static_cast<std::int32_t>(key / 4))) << "group " << g << ", query " << p << ", key " << key;
          }
        }
      }
      computed += count;
      table.slide(pool, computed, length);
      ASSERT_TRUE(table.covers(computed - 1)) << "for a reader that computes the last token itself";
      if (computed == length) ++length;
    }
    table.release(pool);
    EXPECT_EQ(pool.used(), 0);
  }
}

TEST(PageTable, begins_behind_keys_that_nobody_sees) {
  const Paging paging = paging_of({kAll, kWindow}, 4);
  BlockPool pool(64);
  PageTable table(paging);
  table.begin(100);
  table.reserve(pool, 120);
  EXPECT_EQ(pool.used(), 30 + 5);
  EXPECT_FALSE(table.holds(1, 21));
  EXPECT_TRUE(table.holds(1, 22));
  EXPECT_EQ(table.entries(100)[2 * 21 + 1], kNoBlock);
  EXPECT_TRUE(table.covers(100));
  EXPECT_FALSE(table.covers(90));
}

}  // namespace
}  // namespace braid::kv
