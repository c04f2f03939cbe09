// SPDX-License-Identifier: Apache-2.0
// Experts move between ranks whose kernels have memory of their own: a device of the host's memory that copies as late as a
// GPU may, when its stream is waited for.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <mutex>
#include <sstream>

#include "fabric/testing/local_bootstrap.h"
#include "moe/placement/on_device.h"
#include "moe/placement/rebalance.h"
#include "tests/ranks/gathered.h"
#include "tests/ranks/move_counter.h"
#include "tests/ranks/rotated.h"
#include "transport/shm/shm.h"

namespace braid {
namespace {

constexpr Duration kLong = std::chrono::seconds(60);
constexpr int kRanks = 3, kExperts = 7, kRedundant = 2, kLayers = 2;

class LateWindow final : public PeerWindow {
 public:
  explicit LateWindow(std::size_t bytes) : memory_(bytes) {}
  std::string descriptor() const override {
    std::ostringstream out;
    out << reinterpret_cast<std::uintptr_t>(memory_.data());
    return out.str();
  }
  Status connect(std::span<const std::string> descriptors) override {
    for (const auto& d : descriptors) peers_.push_back(reinterpret_cast<std::byte*>(std::stoull(d)));
    return {};
  }
  const std::byte* data() const override { return memory_.data(); }
  Status put(int rank, std::size_t offset, const void* from, std::size_t bytes) override {
    EXPECT_LE(offset + bytes, memory_.size());
    puts_.push_back([to = peers_[static_cast<std::size_t>(rank)] + offset, from, bytes] { std::memcpy(to, from, bytes); });
    return {};
  }
  Status flush(Duration) override {
    for (const auto& put : puts_) put();
    puts_.clear();
    return {};
  }

 private:
  const Buffer memory_;
  std::vector<std::byte*> peers_;
  std::vector<std::function<void()>> puts_;
};

class LateStream final : public Stream {
 public:
  const Capabilities& capabilities() const override { return capabilities_; }
  int workers() const override { return 1; }
  bool unified() const override { return false; }
  Buffer allocate(std::size_t bytes) override {
    Buffer buffer(bytes);
    std::memset(buffer.data(), 0, bytes);
    return buffer;
  }
  void copy(void* to, const void* from, std::size_t bytes) override {
    const auto* window = window_ ? window_->data() : nullptr;
    const auto* at = static_cast<const std::byte*>(from);
    if (!window || at < window || at >= window + window_bytes_) return void(std::memcpy(to, from, bytes));
    copies_.push_back([to, from, bytes] { std::memcpy(to, from, bytes); });
  }
  Status wait() override {
    for (const auto& copy : copies_) copy();
    copies_.clear();
    return {};
  }
  Result<std::unique_ptr<PeerWindow>> peer_window(std::size_t bytes) override {
    auto window = std::make_unique<LateWindow>(bytes);
    window_ = window.get();
    window_bytes_ = bytes;
    return std::unique_ptr<PeerWindow>(std::move(window));
  }

 private:
  const Capabilities capabilities_{"late", {}};
  const PeerWindow* window_ = nullptr;
  std::size_t window_bytes_ = 0;
  std::vector<std::function<void()>> copies_;
};

const ops::Kernel<ops::GroupedMlp> kKernel{.name = "any"};

Buffer filled(std::size_t bytes, int value) {
  Buffer buffer(bytes);
  std::memset(buffer.data(), value, bytes);
  return buffer;
}

ops::PackedMlp weights_of(int layer, std::int32_t expert) {
  const int value = 1 + layer * 100 + expert;
  return {ops::WeightFormat::kF8, 8, 4, {ops::WeightFormat::kF8, 8, 8, 1, filled(300, value), filled(20, value)},
          {ops::WeightFormat::kF8, 8, 4, 1, filled(131, value), filled(12, value)}, {}, {}};
}

std::vector<std::unique_ptr<moe::Layer>> layers_of(int rank) {
  std::vector<std::unique_ptr<moe::Layer>> layers;
  for (int i = 0; i < kLayers; ++i) {
    moe::Parts parts;
    parts.index = i;
    parts.mlp_kernel = &kKernel;
    parts.placement = moe::Placement::linear(kExperts, kRanks, kRedundant);
    for (const std::int32_t e : parts.placement.experts_of(rank)) parts.experts.push_back(weights_of(i, e));
    layers.push_back(std::make_unique<moe::Layer>(std::move(parts), rank));
  }
  return layers;
}

bool holds(const ops::PackedMlp& slot, int layer, std::int32_t expert) {
  const auto wanted = static_cast<std::byte>(1 + layer * 100 + expert);
  for (const Buffer* b : {&slot.gate_up.data, &slot.gate_up.scales, &slot.down.data, &slot.down.scales}) {
    if (std::any_of(b->data(), b->data() + b->size(), [&](std::byte v) { return v != wanted; })) return false;
  }
  return true;
}

struct Watch final : testing::MoveCounter {
  void measured(const std::vector<moe::LayerLoad>& loads) override {
    std::lock_guard lock(mutex);
    last = loads;
  }
  std::mutex mutex;
  std::vector<moe::LayerLoad> last;
};

class DeviceRebalance : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(All, DeviceRebalance, ::testing::Bool(), [](const auto& info) { return info.param ? "InTheBackground" : "AtOnce"; });

TEST_P(DeviceRebalance, EverySlotHoldsItsExpertInTheMemoryOfBefore) {
  fabric::testing::run_ranks(kRanks, [&](fabric::Bootstrap& b) {
    LateStream stream;
    const auto transport = transport::shm::transport({.spin = Duration::zero()});
    const auto owned = layers_of(b.rank());
    std::vector<moe::Layer*> layers;
    for (const auto& layer : owned) layers.push_back(layer.get());
    const std::size_t slots = layers.front()->slots().size();
    moe::SlotRows rows(kLayers, slots, stream);
    for (std::size_t l = 0; l < layers.size(); ++l) layers[l]->count_in(&rows, l);
    const std::byte* const place = layers[1]->slots()[2].down.data.data();
    Watch watch;
    moe::Rebalancer rebalancer(*transport, layers, stream, {.window = 4, .interval = 4, .background = GetParam(), .timeout = kLong, .policy = testing::rotated}, watch);
    ASSERT_TRUE(rebalancer.join(b).ok());
    for (int step = 0; testing::least(b, static_cast<std::uint64_t>(watch.layers)) < 7 * kLayers; ++step) {
      rebalancer.step(testing::least(b, rebalancer.staged()));
      const std::uint64_t maps = testing::least(b, rebalancer.maps());
      EXPECT_EQ(maps, rebalancer.maps());
      for (std::size_t l = 0; l < layers.size(); ++l) {
        for (std::size_t s = 0; s < slots; ++s) rows.counters(l)[s] += static_cast<std::int64_t>(s + l);
      }
      rows.show();
      ASSERT_TRUE(stream.wait().ok());
      for (std::size_t l = 0; l < layers.size(); ++l) {
        const auto experts = layers[l]->placement().experts_of(b.rank());
        for (std::size_t s = 0; s < slots; ++s) EXPECT_TRUE(holds(layers[l]->slots()[s], static_cast<int>(l), experts[s])) << "step " << step << ", slot " << s;
      }
    }
    EXPECT_EQ(layers[1]->slots()[2].down.data.data(), place);
    EXPECT_GT(watch.sent, 0u);
    {
      std::lock_guard lock(watch.mutex);
      ASSERT_EQ(watch.last.size(), static_cast<std::size_t>(kLayers));
      for (const double r : watch.last[1].ranks) EXPECT_GT(r, 0);
    }
    ASSERT_TRUE(b.all_gather("done").ok());
    rebalancer.leave();
    ASSERT_TRUE(b.all_gather("left").ok());
  });
}

TEST(DevicePlacement, ChangesInPlace) {
  LateStream stream;
  moe::DevicePlacement subject;
  EXPECT_TRUE(subject.empty());
  subject.set(moe::Placement(3, 2, {0, 1, 2, 1}), stream);
  const auto before = subject.slots();
  EXPECT_EQ(before.each, 2);
  EXPECT_EQ(std::vector(before.first, before.first + 4), (std::vector<std::int32_t>{0, 1, 3, 4}));
  EXPECT_EQ(std::vector(before.replicas, before.replicas + 4), (std::vector<std::int32_t>{0, 1, 3, 2}));
  subject.set(moe::Placement(3, 2, {2, 0, 1, 0}), stream);
  EXPECT_EQ(subject.slots().first, before.first);
  EXPECT_EQ(subject.slots().replicas, before.replicas);
  EXPECT_EQ(std::vector(before.first, before.first + 4), (std::vector<std::int32_t>{0, 2, 3, 4}));
  EXPECT_EQ(std::vector(before.replicas, before.replicas + 4), (std::vector<std::int32_t>{1, 3, 2, 0}));
}

}  // namespace
}  // namespace braid
