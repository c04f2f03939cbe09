// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "backend/cuda/backend.h"

namespace braid::cuda {
namespace {

TEST(Absent, AStreamIsRefusedWithWhatToBuild) {
  const auto stream = make_stream();
  ASSERT_FALSE(stream.ok());
  EXPECT_EQ(stream.error().code, ErrorCode::kUnimplemented);
  EXPECT_NE(stream.error().message.find("make cuda"), std::string::npos);
}

TEST(Absent, ThereAreNoKernels) { EXPECT_TRUE(kernels().linear.empty()); }

}  // namespace
}  // namespace braid::cuda
