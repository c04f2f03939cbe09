// SPDX-License-Identifier: Apache-2.0
#include "transfer/borrower.h"

#include <algorithm>
#include <utility>

#include "transfer/peer.h"

namespace braid::transfer {
namespace {

constexpr std::size_t kMostPeers = 256;

}  // namespace

Borrower::Borrower(BorrowerOptions options, fabric::Transport& transport, Memory& memory, std::function<void()> changed)
    : options_(std::move(options)), transport_(transport), memory_(memory), changed_(std::move(changed)) {}

Borrower::~Borrower() {
  std::map<std::string, std::shared_ptr<Peer>> peers;
  {
    std::lock_guard lock(mutex_);
    peers.swap(peers_);
    fetches_.clear();
  }
  peers.clear();  // without the mutex: their threads still tell
}

std::shared_ptr<Peer> Borrower::peer_at(const Source& source, std::vector<std::shared_ptr<Peer>>& unused) {
  const std::string where = source.where();
  if (!peers_.contains(where) && peers_.size() >= kMostPeers) {
    for (auto& [address, peer] : peers_) {
      if (peer.use_count() == 1) unused.push_back(std::move(peer));
    }
    std::erase_if(peers_, [](const auto& entry) { return entry.second == nullptr; });
    if (peers_.size() >= kMostPeers) return nullptr;
  }
  auto& peer = peers_[where];
  if (!peer) peer = std::make_shared<Peer>(source, options_, transport_, memory_, [this](News news) { tell(std::move(news)); });
  return peer;
}

FetchId Borrower::open(const Source& source, std::vector<std::int32_t> prompt) {
  std::vector<std::shared_ptr<Peer>> unused;
  std::shared_ptr<Peer> peer;
  FetchId fetch = 0;
  {
    std::lock_guard lock(mutex_);
    fetch = next_++;
    peer = peer_at(source, unused);
    if (peer) fetches_[fetch] = peer;
    else news_.push_back({.fetch = fetch, .error = "too many engines lend blocks to this one"});
  }
  if (peer) peer->open(fetch, source, std::move(prompt));
  else changed_();
  return fetch;
}

std::shared_ptr<Peer> Borrower::peer_of(FetchId fetch) {
  std::lock_guard lock(mutex_);
  const auto found = fetches_.find(fetch);
  return found == fetches_.end() ? nullptr : found->second;
}

void Borrower::read(FetchId fetch, Reading reading) {
  if (const auto peer = peer_of(fetch)) peer->read(fetch, std::move(reading));
}

void Borrower::end(FetchId fetch) {
  const auto peer = peer_of(fetch);
  if (!peer) return;
  {
    std::lock_guard lock(mutex_);
    fetches_.erase(fetch);
  }
  peer->end(fetch);
}

void Borrower::decline(const Source& source) {
  std::vector<std::shared_ptr<Peer>> unused;
  std::shared_ptr<Peer> peer;
  {
    std::lock_guard lock(mutex_);
    peer = peer_at(source, unused);
  }
  if (peer) peer->decline(source);
}

std::vector<News> Borrower::news() {
  std::lock_guard lock(mutex_);
  return std::exchange(news_, {});
}

void Borrower::tell(News news) {
  {
    std::lock_guard lock(mutex_);
    if (news.kind == News::Kind::kRead || news.kind == News::Kind::kFailed) fetches_.erase(news.fetch);
    news_.push_back(std::move(news));
  }
  changed_();
}

}  // namespace braid::transfer
