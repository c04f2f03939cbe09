// SPDX-License-Identifier: Apache-2.0
// A medium that misbehaves as far as the contract of fabric/transport.h allows, and one step beyond:
// writes are held back until the next signal, then done in a random order, some of them twice;
// signals are repeated; one in `drop_every` signals is lost for ever.
#pragma once

#include <algorithm>
#include <cstring>
#include <random>

#include "fabric/transport.h"

namespace braid::fabric::testing {

class FaultyTransport final : public Transport {
 public:
  FaultyTransport(std::unique_ptr<Transport> inner, unsigned seed, int drop_every)
      : inner_(std::move(inner)), random_(seed), drop_every_(drop_every) {}

  std::string_view name() const override { return "faulty"; }
  Capabilities capabilities() const override { return {false, false, 1 << 20}; }
  Result<std::unique_ptr<Region>> register_memory(std::size_t bytes) override { return inner_->register_memory(bytes); }
  Result<std::unique_ptr<RemoteRegion>> connect(std::string_view descriptor) override {
    ASSIGN_OR_RETURN(auto remote, inner_->connect(descriptor));
    return std::unique_ptr<RemoteRegion>(new Remote(std::move(remote)));
  }
  Result<std::unique_ptr<Transfer>> prepare(RemoteRegion& remote, Direction direction, std::vector<Piece> pieces) override {
    std::shuffle(pieces.begin(), pieces.end(), random_);
    return inner_->prepare(*static_cast<Remote&>(remote).inner, direction, std::move(pieces));
  }
  Status post(Transfer& transfer) override { return inner_->post(transfer); }
  Result<bool> poll(Transfer& transfer) override {
    if (random_() % 4 != 0) return false;
    return inner_->poll(transfer);
  }
  Status write(RemoteRegion& remote, std::size_t offset, std::span<const std::byte> data) override {
    held_.push_back({&static_cast<Remote&>(remote), offset, {data.begin(), data.end()}});
    return Status::success();
  }
  Status signal(RemoteRegion& remote, int word, std::uint64_t value) override {
    std::shuffle(held_.begin(), held_.end(), random_);
    for (const Held& h : held_) {
      for (unsigned times = 1 + random_() % 2; times > 0; --times) RETURN_IF_ERROR(inner_->write(*h.remote->inner, h.offset, h.data));
    }
    held_.clear();
    if (drop_every_ > 0 && random_() % static_cast<unsigned>(drop_every_) == 0) return Status::success();
    RemoteRegion& to = *static_cast<Remote&>(remote).inner;
    RETURN_IF_ERROR(inner_->signal(to, word, value));
    return inner_->signal(to, word, value);
  }
  bool wait(Region& region, const std::function<bool()>& ready, TimePoint until) override { return inner_->wait(region, ready, until); }
  void ring(Region& region) override { inner_->ring(region); }

 private:
  struct Remote final : RemoteRegion {
    explicit Remote(std::unique_ptr<RemoteRegion> r) : inner(std::move(r)) {}
    std::size_t size() const override { return inner->size(); }
    std::byte* direct() const override { return nullptr; }
    bool alive() const override { return inner->alive(); }
    Path path() const override { return inner->path(); }
    std::unique_ptr<RemoteRegion> inner;
  };
  struct Held {
    Remote* remote;
    std::size_t offset;
    std::vector<std::byte> data;
  };

  std::unique_ptr<Transport> inner_;
  std::mt19937 random_;
  const int drop_every_;
  std::vector<Held> held_;
};

}  // namespace braid::fabric::testing
