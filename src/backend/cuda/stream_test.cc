// SPDX-License-Identifier: Apache-2.0
// On a GPU: `make test-gpu`.
#include <gtest/gtest.h>

#include <numeric>

#include "backend/cuda/backend.h"
#include "tensor/staging.h"

namespace braid::cuda {
namespace {

TEST(CudaStream, WhatIsStagedIsReadBack) {
  auto stream = make_stream();
  ASSERT_TRUE(stream.ok()) << stream.error().message;
  std::vector<std::int32_t> numbers(1000);
  std::iota(numbers.begin(), numbers.end(), 7);
  Staging staging(**stream);
  HostCopy back;
  for (int step = 0; step < 3; ++step) {
    numbers[0] = step;
    staging.begin(numbers.size() * sizeof(numbers[0]) + 64);
    const auto first = staging.put(std::span<const std::int32_t>(numbers).first(3));
    const auto second = staging.put(std::span<const std::int32_t>(numbers));
    staging.send();
    EXPECT_EQ((*back.read(**stream, first.device, 3).value()), step);
    const auto* all = back.read(**stream, second.device, numbers.size()).value();
    EXPECT_EQ(std::vector<std::int32_t>(all, all + numbers.size()), numbers);
  }
}

TEST(CudaStream, FreshMemoryIsZero) {
  auto stream = make_stream();
  ASSERT_TRUE(stream.ok()) << stream.error().message;
  const Buffer buffer = (*stream)->allocate(1 << 20);
  HostCopy back;
  const auto* bytes = back.read(**stream, buffer.data(), buffer.size()).value();
  EXPECT_EQ(std::count(bytes, bytes + buffer.size(), std::byte{0}), 1 << 20);
}

TEST(CudaStream, TooMuchMemoryIsAnErrorThatWaitTells) {
  auto stream = make_stream();
  ASSERT_TRUE(stream.ok()) << stream.error().message;
  EXPECT_EQ((*stream)->allocate(std::size_t{1} << 45).size(), 0u);
  const Status status = (*stream)->wait();
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kResourceExhausted);
  EXPECT_TRUE((*stream)->wait().ok());
}

TEST(CudaStream, ItsLinksAndItsMemoryHaveABandwidth) {
  auto stream = make_stream();
  ASSERT_TRUE(stream.ok()) << stream.error().message;
  EXPECT_GT(measure_peaks(**stream).bandwidth, 0);
  const Links links = measure_links(**stream);
  EXPECT_GT(links.to_gpu, 0);
  EXPECT_GT(links.from_gpu, 0);
  for (const auto& peer : links.peers) EXPECT_GT(peer.bandwidth, 0) << "GPU " << peer.device;
  EXPECT_TRUE((*stream)->wait().ok());
}

TEST(CudaStream, AGpuThatIsNotThereIsRefused) {
  const auto stream = make_stream(1000);
  ASSERT_FALSE(stream.ok());
  EXPECT_NE(stream.error().message.find("--device cpu"), std::string::npos);
}

}  // namespace
}  // namespace braid::cuda
