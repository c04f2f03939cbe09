// SPDX-License-Identifier: Apache-2.0
#include "fabric/mixed_transport.h"

#include <algorithm>
#include <charconv>

namespace braid::fabric {
namespace {

struct Descriptors {
  std::string host, near, far;
};

// host and near with their lengths before them; far is the rest.
std::string pack(const Descriptors& d) {
  return "mixed:" + std::to_string(d.host.size()) + ":" + d.host + std::to_string(d.near.size()) + ":" + d.near + d.far;
}

bool take_text(std::string_view& rest, std::string& text) {
  std::size_t size = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), size);
  const auto digits = static_cast<std::size_t>(end - rest.data());
  if (error != std::errc() || digits == rest.size() || *end != ':' || size > rest.size() - digits - 1) return false;
  text.assign(rest.substr(digits + 1, size));
  rest.remove_prefix(digits + 1 + size);
  return true;
}

Result<Descriptors> unpack(std::string_view text) {
  constexpr std::string_view kPrefix = "mixed:";
  Descriptors d;
  if (text.starts_with(kPrefix)) {
    text.remove_prefix(kPrefix.size());
    if (take_text(text, d.host) && take_text(text, d.near)) {
      d.far = text;
      return d;
    }
  }
  return invalid_argument("a region's description is not one of ranks on several hosts; do all hosts have the same flags?");
}

class MixedRegion final : public Region {
 public:
  MixedRegion(const std::string& host, std::unique_ptr<Region> n, std::unique_ptr<Region> f)
      : near(std::move(n)), far(std::move(f)), host_(host) {}
  std::span<std::byte> memory() const override { return near->memory(); }
  std::string descriptor() const override { return pack({host_, near->descriptor(), far->descriptor()}); }
  // A word has one writer, which comes by one of the two.
  std::uint64_t signal(int word) const override { return std::max(near->signal(word), far->signal(word)); }

  const std::unique_ptr<Region> near;
  const std::unique_ptr<Region> far;  // first to go: it works on the other's memory

 private:
  const std::string host_;
};

class MixedRemote final : public RemoteRegion {
 public:
  MixedRemote(Transport& by, std::unique_ptr<RemoteRegion> r) : by(by), inner(std::move(r)) {}
  std::size_t size() const override { return inner->size(); }
  std::byte* direct() const override { return inner->direct(); }
  bool alive() const override { return inner->alive(); }
  Path path() const override { return inner->path(); }

  Transport& by;
  const std::unique_ptr<RemoteRegion> inner;
};

struct MixedTransfer final : Transfer {
  MixedTransfer(Transport& by, std::unique_ptr<Transfer> t) : by(by), inner(std::move(t)) {}
  Transport& by;
  const std::unique_ptr<Transfer> inner;
};

class Mixed final : public Transport {
 public:
  Mixed(std::unique_ptr<Transport> near, std::unique_ptr<FarTransport> far, std::string host)
      : near_(std::move(near)), far_(std::move(far)), host_(std::move(host)),
        name_(std::string(near_->name()) + " and " + std::string(far_->name())) {}

  std::string_view name() const override { return name_; }
  Capabilities capabilities() const override {
    return {false, near_->capabilities().detects_death && far_->capabilities().detects_death,
            std::min(near_->capabilities().max_message, far_->capabilities().max_message)};
  }

  Result<std::unique_ptr<Region>> register_memory(std::size_t bytes) override {
    ASSIGN_OR_RETURN(auto near, near_->register_memory(bytes));
    const auto wake = [this, region = near.get()] { near_->ring(*region); };
    ASSIGN_OR_RETURN(auto far, far_->adopt(near->memory(), wake));
    return std::unique_ptr<Region>(new MixedRegion(host_, std::move(near), std::move(far)));
  }

  Result<std::unique_ptr<RemoteRegion>> connect(std::string_view descriptor) override {
    ASSIGN_OR_RETURN(const Descriptors d, unpack(descriptor));
    Transport& by = d.host == host_ ? *near_ : *far_;
    ASSIGN_OR_RETURN(auto remote, by.connect(d.host == host_ ? d.near : d.far));
    return std::unique_ptr<RemoteRegion>(new MixedRemote(by, std::move(remote)));
  }

  Result<std::unique_ptr<Transfer>> prepare(RemoteRegion& handle, Direction direction, std::vector<Piece> pieces) override {
    auto& remote = static_cast<MixedRemote&>(handle);
    ASSIGN_OR_RETURN(auto transfer, remote.by.prepare(*remote.inner, direction, std::move(pieces)));
    return std::unique_ptr<Transfer>(new MixedTransfer(remote.by, std::move(transfer)));
  }
  Status post(Transfer& handle) override {
    auto& transfer = static_cast<MixedTransfer&>(handle);
    return transfer.by.post(*transfer.inner);
  }
  Result<bool> poll(Transfer& handle) override {
    auto& transfer = static_cast<MixedTransfer&>(handle);
    return transfer.by.poll(*transfer.inner);
  }
  Status write(RemoteRegion& handle, std::size_t offset, std::span<const std::byte> data) override {
    auto& remote = static_cast<MixedRemote&>(handle);
    return remote.by.write(*remote.inner, offset, data);
  }
  Status signal(RemoteRegion& handle, int word, std::uint64_t value) override {
    auto& remote = static_cast<MixedRemote&>(handle);
    return remote.by.signal(*remote.inner, word, value);
  }

  bool wait(Region& handle, const std::function<bool()>& ready, TimePoint until) override {
    return near_->wait(*static_cast<MixedRegion&>(handle).near, ready, until);
  }
  void ring(Region& handle) override { near_->ring(*static_cast<MixedRegion&>(handle).near); }

 private:
  const std::unique_ptr<Transport> near_;
  const std::unique_ptr<FarTransport> far_;
  const std::string host_;
  const std::string name_;
};

}  // namespace

std::unique_ptr<Transport> mixed_transport(std::unique_ptr<Transport> near, std::unique_ptr<FarTransport> far, std::string host) {
  return std::make_unique<Mixed>(std::move(near), std::move(far), std::move(host));
}

}  // namespace braid::fabric
