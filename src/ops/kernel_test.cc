// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "ops/reference.h"

namespace braid::ops {
namespace {

std::string yes(const Combine::Problem&, const Capabilities&) {
  return {};
}
std::string no(const Combine::Problem&, const Capabilities&) {
  return "needs avx2";
}
void nothing(const Combine::Args&, Stream&) {}

const Kernel<Combine> kList[] = {
    {"reference", 0, yes, nothing, nullptr},
    {"fast", 20, no, nothing, nullptr},
    {"middle", 10, yes, nothing, nullptr},
};

std::string chosen(const ForcedKernels& forced) {
  auto selection = select<Combine>(kList, {}, {}, forced);
  return selection.ok() ? selection->kernel->name : "error: " + selection.error().message;
}

TEST(Select, TakesTheHighestRankThatSupportsTheProblem) {
  EXPECT_EQ(chosen({}), "middle");
}

TEST(Select, TakesAForcedKernel) {
  EXPECT_EQ(chosen({"reference"}), "reference");
  EXPECT_EQ(chosen({"combine=reference"}), "reference");
  EXPECT_EQ(chosen({"linear=reference"}), "middle");
}

TEST(Select, FallsBackWhenAGeneralNameIsUnsupportedButNotWhenThisOperationWasNamed) {
  EXPECT_EQ(chosen({"fast"}), "middle");
  const std::string error = chosen({"combine=fast"});
  EXPECT_NE(error.find("'fast' can't run combine"), std::string::npos) << error;
  EXPECT_NE(error.find("needs avx2"), std::string::npos) << error;
}

TEST(Select, SaysWhyTheOthersWereNotTaken) {
  const auto selection = select<Combine>(kList, {}, {});
  ASSERT_TRUE(selection.ok());
  EXPECT_EQ(selection->candidates[0].reason, "lower rank");
  EXPECT_EQ(selection->candidates[1].reason, "needs avx2");
  EXPECT_EQ(selection->candidates[2].reason, "");
}

TEST(CheckForced, AcceptsKernelsThatAnyOperationOrTheNamedOneHas) {
  EXPECT_TRUE(check_forced(reference::lists(), {"reference", "combine=reference"}).ok());
}

TEST(CheckForced, NamesWhatThereIsWhenAKernelOrAnOperationIsUnknown) {
  const auto message = [](const char* entry) { return check_forced(reference::lists(), {entry}).error().message; };
  EXPECT_EQ(message("fast"), "--kernel fast: there is no kernel 'fast'; there are reference");
  EXPECT_EQ(message("combine=fast"), "--kernel combine=fast: there is no kernel 'fast'; there are reference");
  EXPECT_NE(message("combin=fast").find("no operation 'combin'; there are arrange, attention_decode"), std::string::npos);
}

TEST(Reference, ListsEveryOperation) {
  const KernelLists& lists = reference::lists();
  EXPECT_EQ(lists.linear.size(), 1u);
  EXPECT_EQ(lists.grouped_mlp.size(), 1u);
  EXPECT_EQ(lists.attention_decode.size(), 1u);
  EXPECT_EQ(lists.attention_prefill.size(), 1u);
  EXPECT_EQ(lists.embed.size(), 1u);
  EXPECT_EQ(lists.rms_norm.size(), 1u);
  EXPECT_EQ(lists.mla_store.size(), 1u);
  EXPECT_EQ(lists.mla_query.size(), 1u);
  EXPECT_EQ(lists.gqa_prepare.size(), 1u);
  EXPECT_EQ(lists.route.size(), 1u);
  EXPECT_EQ(lists.combine.size(), 1u);
  EXPECT_STREQ(lists.route[0].name, "reference");
}

}  // namespace
}  // namespace braid::ops
