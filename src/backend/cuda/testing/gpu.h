// SPDX-License-Identifier: Apache-2.0
// For tests of kernels: the first GPU, reproducible numbers on both sides, and a comparison with what
// the slow reference makes of the same numbers on the host.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "backend/cuda/backend.h"
#include "ops/reference.h"
#include "ops/reference/fixture.h"
#include "tensor/staging.h"

namespace braid::cuda {

class Gpu : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = make_stream();
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    stream_ = std::move(opened).value();
  }
  void TearDown() override {
    if (!stream_) return;
    const Status status = stream_->wait();
    EXPECT_TRUE(status.ok()) << status.error().message;
  }

  std::unique_ptr<Stream> stream_;
  ops::reference::NoStream host_;
};

// One array on the host and on the GPU.
class Twin {
 public:
  Twin(Stream& stream, std::vector<std::byte> bytes) : stream_(stream), host_(std::move(bytes)), device_(upload(stream, host_)) {}

  template <class T>
  T* host() {
    return reinterpret_cast<T*>(host_.data());
  }
  template <class T>
  T* device() const {
    return device_.as<T>();
  }
  // What the GPU made of it.
  std::vector<std::byte> result() const {
    HostCopy copy;
    const auto* bytes = copy.read(stream_, device_.data(), device_.size()).value();
    return {bytes, bytes + host_.size()};
  }

 private:
  Stream& stream_;
  std::vector<std::byte> host_;
  Buffer device_;
};

template <class T>
Twin twin(Stream& stream, const std::vector<T>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return {stream, std::move(bytes)};
}

// Float rows of either type with `stride` elements each, random in [-spread, spread].
struct TwinRows {
  TwinRows(Stream& stream, DType type, std::int64_t count, std::int64_t width, unsigned seed, float spread = 1.0f, std::int64_t gap = 0)
      : dtype(type), rows(count), cols(width), stride(width + gap), memory(stream, bytes(seed, spread)) {}

  Activations host() { return {memory.host<std::byte>(), dtype, rows, cols, stride}; }
  Activations device() const { return {memory.device<std::byte>(), dtype, rows, cols, stride}; }
  Matrix<float> host_f32() { return {memory.host<float>(), rows, cols, stride}; }
  Matrix<float> device_f32() const { return {memory.device<float>(), rows, cols, stride}; }
  // As floats, gaps included: host values, and those that the GPU has.
  std::vector<float> wanted() { return floats(memory.host<std::byte>()); }
  std::vector<float> got() const {
    const auto result = memory.result();
    return floats(result.data());
  }

  DType dtype;
  std::int64_t rows, cols, stride;
  Twin memory;

 private:
  std::vector<std::byte> bytes(unsigned seed, float spread) const {
    const auto values = ops::reference::random_values(static_cast<std::size_t>(rows * stride), seed, spread);
    std::vector<std::byte> all(values.size() * size_of(dtype));
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (dtype == DType::kF32) reinterpret_cast<float*>(all.data())[i] = values[i];
      else reinterpret_cast<std::uint16_t*>(all.data())[i] = f32_to_bf16(values[i]);
    }
    return all;
  }
  std::vector<float> floats(const std::byte* data) const {
    std::vector<float> values(static_cast<std::size_t>(rows * stride));
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = dtype == DType::kF32 ? reinterpret_cast<const float*>(data)[i] : bf16_to_f32(reinterpret_cast<const std::uint16_t*>(data)[i]);
    }
    return values;
  }
};

// Every element within `tolerance` of the largest wanted one; none is NaN.
inline void expect_close(const std::vector<float>& got, const std::vector<float>& want, double tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double largest = 1e-6, worst = 0;
  for (const float v : want) largest = std::max<double>(largest, std::fabs(v));
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double difference = std::fabs(static_cast<double>(got[i]) - want[i]);
    worst = difference <= worst ? worst : std::isnan(difference) ? HUGE_VAL : difference;
  }
  EXPECT_LE(worst, tolerance * largest) << what << ", largest value " << largest;
}

inline double tolerance_of(DType dtype) { return dtype == DType::kF32 ? 2e-5 : 1e-2; }

// The kernels of a list that take the problem, each with its name.
template <class Op>
std::vector<const ops::Kernel<Op>*> runnable(std::span<const ops::Kernel<Op>> list, const typename Op::Problem& problem, const Stream& stream) {
  std::vector<const ops::Kernel<Op>*> all;
  for (const auto& kernel : list) {
    if (kernel.supports(problem, stream.capabilities()).empty()) all.push_back(&kernel);
  }
  EXPECT_FALSE(all.empty()) << "no kernel for " << Op::kName;
  return all;
}

}  // namespace braid::cuda
