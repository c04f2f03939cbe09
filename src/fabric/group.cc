// SPDX-License-Identifier: Apache-2.0
#include "fabric/group.h"

#include <algorithm>
#include <cstring>

namespace braid::fabric {
namespace {

constexpr Duration kLookAtPeer = std::chrono::milliseconds(20);

TimePoint now() { return std::chrono::steady_clock::now(); }

std::string seconds_text(Duration d) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
  return std::to_string(ms / 1000) + "." + std::to_string(ms % 1000 / 100) + " s";
}

}  // namespace

Window::Window(const Bootstrap& bootstrap, Transport& transport, Duration timeout, std::string name, std::unique_ptr<Region> mine,
               std::vector<std::unique_ptr<RemoteRegion>> peers)
    : rank_(bootstrap.rank()), transport_(transport), timeout_(timeout), name_(std::move(name)), mine_(std::move(mine)),
      peers_(std::move(peers)), given_up_(bootstrap.given_up()) {
  for (Rank r = 0; r < size(); ++r) numbers_.push_back(bootstrap.number_of(r));
}

std::byte* Window::direct(Rank peer) const {
  return peer == rank_ ? local().data() : peers_[static_cast<std::size_t>(peer)]->direct();
}

Status Window::put(Rank peer, std::size_t offset, std::span<const std::byte> data) {
  CHECK(offset + data.size() <= local().size(), "a put leaves the window");
  if (peer == rank_) {
    if (!data.empty()) std::memcpy(local().data() + offset, data.data(), data.size());
    return Status::success();
  }
  return transport_.write(*peers_[static_cast<std::size_t>(peer)], offset, data);
}

Status Window::signal(Rank peer, int word, std::uint64_t value) {
  CHECK(peer != rank_, "a rank does not signal itself");
  return transport_.signal(*peers_[static_cast<std::size_t>(peer)], word, value);
}

Status Window::wait(Rank peer, int word, std::uint64_t value, const Site& site) {
  const auto ready = [this, word, value] { return mine_->signal(word) >= value; };
  if (ready()) return Status::success();
  const TimePoint deadline = now() + timeout_;
  for (TimePoint t = now(); t < deadline; t = now()) {
    if (transport_.wait(*mine_, ready, std::min(deadline, t + kLookAtPeer))) return Status::success();
    if (given_up()) return failure(peer, word, value, site, ErrorCode::kUnavailable, "the group is given up");
    if (!alive(peer)) {
      if (ready()) return Status::success();
      return failure(peer, word, value, site, ErrorCode::kUnavailable, "that process has ended");
    }
  }
  return failure(peer, word, value, site, ErrorCode::kDeadlineExceeded, "nothing came within " + seconds_text(timeout_));
}

Error Window::failure(Rank peer, int word, std::uint64_t value, const Site& site, ErrorCode code, const std::string& why) const {
  std::string text = "rank " + std::to_string(number_of(rank_)) + " waits for rank " + std::to_string(number_of(peer)) + " in " + site.phase;
  if (site.layer >= 0) text += " of layer " + std::to_string(site.layer);
  text += " (" + name_ + " over " + std::string(transport_.name()) + ", word " + std::to_string(word) + ": expected " +
          std::to_string(value) + ", seen " + std::to_string(mine_->signal(word)) + "): " + why;
  return {code, text, {}};
}

Result<std::unique_ptr<Window>> create_window(Bootstrap& bootstrap, Transport& transport, const std::string& name,
                                              std::size_t bytes, Duration timeout) {
  ASSIGN_OR_RETURN(auto mine, transport.register_memory(bytes));
  ASSIGN_OR_RETURN(const auto descriptors, bootstrap.all_gather(mine->descriptor()));
  std::vector<std::unique_ptr<RemoteRegion>> peers(descriptors.size());
  for (std::size_t r = 0; r < descriptors.size(); ++r) {
    if (static_cast<Rank>(r) == bootstrap.rank()) continue;
    const std::string here = "rank " + std::to_string(bootstrap.number_of(bootstrap.rank()));
    const std::string there = "rank " + std::to_string(bootstrap.number_of(static_cast<Rank>(r)));
    auto peer = transport.connect(descriptors[r]);
    if (!peer.ok()) return peer.error().within(name + ": " + here + " to " + there);
    if ((*peer)->size() != bytes) {
      return internal_error(name + ": " + there + " has " + std::to_string((*peer)->size()) + " bytes, " + here + " " +
                            std::to_string(bytes) + "; all ranks must have the same settings");
    }
    peers[r] = std::move(peer).value();
  }
  // Nobody goes on before everybody has connected, so that no region is released too early.
  RETURN_IF_ERROR(bootstrap.all_gather("connected"));
  return std::make_unique<Window>(bootstrap, transport, timeout, name, std::move(mine), std::move(peers));
}

Result<std::unique_ptr<AllGather>> AllGather::create(Bootstrap& bootstrap, Transport& transport, std::size_t bytes,
                                                     Duration timeout) {
  CHECK(bootstrap.size() <= kSignalWords);
  const std::size_t slot = (bytes + 63) / 64 * 64;
  ASSIGN_OR_RETURN(auto window, create_window(bootstrap, transport, "small messages",
                                              2 * slot * static_cast<std::size_t>(bootstrap.size()), timeout));
  return std::unique_ptr<AllGather>(new AllGather(std::move(window), slot));
}

std::size_t AllGather::slot(std::uint64_t round, Rank rank) const {
  return (static_cast<std::size_t>(round % 2) * static_cast<std::size_t>(size()) + static_cast<std::size_t>(rank)) * bytes_;
}

Status AllGather::post(std::span<const std::byte> mine) {
  CHECK(mine.size() <= bytes_);
  ++round_;
  for (Rank r = 0; r < size(); ++r) {
    RETURN_IF_ERROR(window_->put(r, slot(round_, rank()), mine));
    if (r != rank()) RETURN_IF_ERROR(window_->signal(r, rank(), round_));
  }
  return Status::success();
}

Result<std::span<const std::byte>> AllGather::collect(const Site& site) {
  for (Rank r = 0; r < size(); ++r) {
    if (r != rank()) RETURN_IF_ERROR(window_->wait(r, r, round_, site));
  }
  return std::span<const std::byte>(window_->local()).subspan(slot(round_, 0), bytes_ * static_cast<std::size_t>(size()));
}

bool AllGather::called() const {
  for (Rank r = 0; r < size(); ++r) {
    if (r != rank() && window_->seen(r) > round_) return true;
  }
  return false;
}

void AllGather::sleep(const std::function<bool()>& woken, TimePoint until) {
  window_->wait_until([&] { return called() || woken(); }, until);
}

}  // namespace braid::fabric
