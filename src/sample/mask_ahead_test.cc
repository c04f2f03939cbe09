// SPDX-License-Identifier: Apache-2.0
#include "sample/mask_ahead.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "sample/testing/literal_matcher.h"

namespace braid::sample {
namespace {

constexpr std::int32_t kVocabulary = 40;

RowSampler literal(std::vector<std::int32_t> text) {
  protocol::SamplingParams params;
  params.temperature = 0;
  return RowSampler(params, {}, {.seed = 1, .end_ids = {}, .bad_words = {}, .grammar = std::make_unique<testing::LiteralMatcher>(std::move(text))});
}

std::vector<std::int32_t> sampled(RowSampler& sampler, int count) {
  Scratch scratch;
  const std::vector<float> logits(kVocabulary, 0.0f);
  std::vector<std::int32_t> tokens;
  for (int i = 0; i < count; ++i) {
    tokens.push_back(sampler.sample(logits, scratch));
    EXPECT_TRUE(sampler.accept(tokens.back()));
  }
  return tokens;
}

TEST(MaskAhead, prepares_what_sampling_would_compute) {
  MaskAhead ahead(kVocabulary);
  for (int round = 0; round < 50; ++round) {
    std::vector<RowSampler> samplers;
    for (std::int32_t i = 0; i < 8; ++i) samplers.push_back(literal({i, 39 - i, 5}));
    const std::vector<std::int32_t> wrong = {30, 31};
    std::vector<std::vector<std::int32_t>> right;
    for (std::int32_t i = 0; i < 8; ++i) right.push_back({i, 39 - i});
    std::vector<MaskAhead::Job> jobs;
    for (std::size_t i = 0; i < 8; ++i) jobs.push_back({&samplers[i], i % 2 ? std::span<const std::int32_t>(right[i]) : wrong});
    ahead.start(std::move(jobs));
    ahead.finish();
    for (std::int32_t i = 0; i < 8; ++i) EXPECT_EQ(sampled(samplers[static_cast<std::size_t>(i)], 3), (std::vector<std::int32_t>{i, 39 - i, 5}));
  }
}

TEST(MaskAhead, masks_do_not_outlive_a_draft_that_did_not_come_true) {
  RowSampler sampler = literal({1, 2, 3});
  const std::vector<std::int32_t> drafts = {1, 2};
  sampler.prepare(drafts, kVocabulary);
  EXPECT_EQ(sampled(sampler, 3), (std::vector<std::int32_t>{1, 2, 3}));
  RowSampler other = literal({7, 8});
  other.prepare(std::vector<std::int32_t>{6}, kVocabulary);
  EXPECT_EQ(sampled(other, 2), (std::vector<std::int32_t>{7, 8}));
}

TEST(MaskAhead, nothing_to_do_is_nothing_done) {
  MaskAhead ahead(kVocabulary);
  ahead.start({});
  ahead.finish();
}

}  // namespace
}  // namespace braid::sample
