// SPDX-License-Identifier: Apache-2.0
#include "transport/ucx/ucx.h"

#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>

#include "base/log.h"
#include "tensor/tensor.h"
#include "transport/ucx/device.h"
#include "transport/ucx/reads.h"
#include "transport/ucx/region.h"
#include "transport/ucx/worker.h"

namespace braid::transport::ucx {
namespace {

constexpr std::size_t kBatch = std::size_t{64} << 10;      // bytes of records that make a message
constexpr std::size_t kMostInFlight = std::size_t{8} << 20;  // to a peer, before a write waits
constexpr int kBeatsInLife = 6;
constexpr Duration kLinger = std::chrono::seconds(10);

TimePoint now() { return std::chrono::steady_clock::now(); }

std::uint64_t random_number() {
  std::uint64_t number = 0;
  CHECK(getrandom(&number, sizeof number, 0) == sizeof number);
  return number;
}

Status inside(const fabric::RemoteRegion& remote, std::size_t offset, std::size_t bytes) {
  if (offset <= remote.size() && bytes <= remote.size() - offset) return Status::success();
  return invalid_argument("bytes " + std::to_string(offset) + " to " + std::to_string(offset + bytes) +
                          " are outside a region of " + std::to_string(remote.size()));
}

class Ucx;

class UcxRegion final : public fabric::Region {
 public:
  UcxRegion(Ucx& owner, std::span<std::byte> memory, std::function<void()> changed)
      : inbox(memory), changed(std::move(changed)), owner_(owner), memory_(memory) {}
  ~UcxRegion() override;
  std::span<std::byte> memory() const override { return memory_; }
  std::string descriptor() const override;
  std::uint64_t signal(int word) const override { return inbox.word(word); }

  const std::uint64_t token = random_number();
  Inbox inbox;
  const std::function<void()> changed;
  Buffer own;  // of the memory, if it is not another's
  ucp_mem_h handle = nullptr;
  std::string key;
  int lent = 0;  // messages on their way that read the memory

 private:
  Ucx& owner_;
  const std::span<std::byte> memory_;
};

class UcxRemote final : public fabric::RemoteRegion {
 public:
  UcxRemote(Ucx& owner, Description d, std::shared_ptr<Endpoint> e) : description(std::move(d)), endpoint(std::move(e)), owner_(owner) {}
  ~UcxRemote() override;
  std::size_t size() const override { return description.bytes; }
  std::byte* direct() const override { return nullptr; }
  bool alive() const override;
  fabric::Path path() const override;

  const Description description;
  const std::shared_ptr<Endpoint> endpoint;
  const std::uint64_t stream = random_number();
  std::uint64_t next_number = 0;
  std::string records;  // not yet sent
  std::atomic<bool> released{false};
  bool attached = false;
  bool asks = false;  // the network has no reads of its own: the owner is asked
  ucp_rkey_h key = nullptr;

 private:
  Ucx& owner_;
};

struct UcxTransfer final : fabric::Transfer {
  UcxTransfer(Ucx& o, UcxRemote& r, fabric::Direction d, std::vector<fabric::Piece> p)
      : owner(o), remote(r), direction(d), asks(d == fabric::Direction::kRead && r.asks), pieces(asks ? cut(p) : std::move(p)) {
    if (asks) parcels = parcels_of(pieces);
  }
  std::span<const fabric::Piece> pieces_of(std::size_t parcel) const { return std::span(pieces).subspan(parcels[parcel].first, parcels[parcel].count); }
  ~UcxTransfer() override;
  Ucx& owner;
  UcxRemote& remote;
  const fabric::Direction direction;
  const bool asks;
  const std::vector<fabric::Piece> pieces;
  std::vector<void*> requests;  // of the last post
  // Of one that asks:
  std::vector<Parcel> parcels;
  std::uint64_t name = 0;
  std::atomic<std::size_t> missing{0};  // parcels
  std::atomic<int> arriving{0};         // of these, being written to `pieces` now
  std::unordered_map<std::uint64_t, Copies::Memory> copies;  // of parcels that arrive, by number
  std::atomic<bool> broken{false};
};

class Ucx final : public fabric::FarTransport {
 public:
  explicit Ucx(const Options& options) : options_(options) {
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    label_ = std::string(host) + " (" + options.address + ")";
  }

  Status open() {
    ASSIGN_OR_RETURN(const std::string devices, devices_for(options_.address));
    Worker::Events events;
    events.message = [this](const Head& head, std::span<const std::byte> payload) { receive(head, payload); };
    events.tick = [this] { tick(); };
    events.place = [this](const Head& head, std::size_t bytes) { return place(head, bytes); };
    events.placed = [this](const Head& head, bool good) { placed(head, good); };
    events.sent = [this] { worker_->defer([this] { answers_.move_on(*worker_); }); };
    ASSIGN_OR_RETURN(worker_, Worker::create(devices, options_.dead_after / kBeatsInLife, std::move(events)));
    return Status::success();
  }

  ~Ucx() override {
    if (!worker_) return;
    const auto lock = worker_->lock();
    for (auto& [peer, endpoint] : endpoints_) worker_->close(endpoint);
    endpoints_.clear();
  }

  std::string_view name() const override { return "ucx"; }
  fabric::Capabilities capabilities() const override { return {false, false, std::size_t{1} << 30}; }

  Result<std::unique_ptr<fabric::Region>> register_memory(std::size_t bytes) override {
    Buffer memory(bytes);
    std::memset(memory.data(), 0, bytes);
    auto region = std::make_unique<UcxRegion>(*this, std::span(memory.data(), bytes), [] {});
    region->own = std::move(memory);
    RETURN_IF_ERROR(enter(*region));
    return std::unique_ptr<fabric::Region>(std::move(region));
  }

  Result<std::unique_ptr<fabric::Region>> adopt(std::span<std::byte> memory, std::function<void()> changed) override {
    auto region = std::make_unique<UcxRegion>(*this, memory, std::move(changed));
    RETURN_IF_ERROR(enter(*region));
    return std::unique_ptr<fabric::Region>(std::move(region));
  }

  Result<std::unique_ptr<fabric::RemoteRegion>> connect(std::string_view descriptor) override {
    ASSIGN_OR_RETURN(const Description description, read_descriptor(descriptor));
    auto remote = attach_to(description);
    // The peer may just have closed a connection that nobody used.
    if (!remote.ok() && remote.error().code == ErrorCode::kCancelled) remote = attach_to(description);
    if (!remote.ok()) return remote.error();
    return std::unique_ptr<fabric::RemoteRegion>(std::move(*remote));
  }

  Result<std::unique_ptr<fabric::Transfer>> prepare(fabric::RemoteRegion& remote, fabric::Direction direction,
                                                    std::vector<fabric::Piece> pieces) override {
    for (const auto& piece : pieces) RETURN_IF_ERROR(inside(remote, piece.offset, piece.bytes));
    return std::unique_ptr<fabric::Transfer>(new UcxTransfer(*this, static_cast<UcxRemote&>(remote), direction, std::move(pieces)));
  }

  Status post(fabric::Transfer& handle) override {
    auto& transfer = static_cast<UcxTransfer&>(handle);
    CHECK(transfer.requests.empty() && transfer.missing == 0, "a transfer is posted again before it is complete");
    UcxRemote& r = transfer.remote;
    const auto lock = worker_->lock();
    if (!r.alive()) return gone(r);
    if (transfer.asks) return ask(transfer);
    const ucp_request_param_t param{};
    const Library& l = worker_->library();
    const auto keep = [&transfer](void* request) {
      if (UCS_PTR_IS_PTR(request)) transfer.requests.push_back(request);
      return UCS_PTR_STATUS(request);
    };
    for (const auto& piece : transfer.pieces) {
      const std::uint64_t there = r.description.base + piece.offset;
      const bool write = transfer.direction == fabric::Direction::kWrite;
      const auto status = keep(write ? l.put_nbx(r.endpoint->ep, piece.local, piece.bytes, there, r.key, &param)
                                     : l.get_nbx(r.endpoint->ep, piece.local, piece.bytes, there, r.key, &param));
      if (status < 0) return worker_->failure("a transfer with " + r.description.label, status);
    }
    if (const auto status = keep(l.ep_flush_nbx(r.endpoint->ep, &param)); status < 0) {
      return worker_->failure("a transfer with " + r.description.label, status);
    }
    worker_->nudge();
    return Status::success();
  }

  Result<bool> poll(fabric::Transfer& handle) override {
    auto& transfer = static_cast<UcxTransfer&>(handle);
    if (transfer.asks) return answered(transfer);
    const auto lock = worker_->lock();
    worker_->progress();
    while (!transfer.requests.empty()) {
      void* const request = transfer.requests.back();
      const auto status = worker_->library().request_check_status(request);
      if (status == UCS_INPROGRESS) return false;
      worker_->library().request_free(request);
      transfer.requests.pop_back();
      if (status != UCS_OK) return worker_->failure("a transfer with " + transfer.remote.description.label, status);
    }
    return true;
  }

  Status write(fabric::RemoteRegion& handle, std::size_t offset, std::span<const std::byte> data) override {
    RETURN_IF_ERROR(inside(handle, offset, data.size()));
    auto& remote = static_cast<UcxRemote&>(handle);
    while (!data.empty()) {
      const auto part = data.first(std::min(data.size(), kBatch));
      if (remote.records.size() + part.size() > kBatch) RETURN_IF_ERROR(flush(remote));
      append_write(remote.records, offset, part);
      offset += part.size();
      data = data.subspan(part.size());
    }
    return Status::success();
  }

  Status signal(fabric::RemoteRegion& handle, int word, std::uint64_t value) override {
    auto& remote = static_cast<UcxRemote&>(handle);
    append_signal(remote.records, word, value);
    return flush(remote);
  }

  bool wait(fabric::Region&, const std::function<bool()>& ready, TimePoint until) override {
    const TimePoint stop_spinning = std::min(until, now() + options_.spin);
    do {
      if (ready()) return true;
    } while (now() < stop_spinning);
    auto lock = worker_->lock();
    return worker_->wait(lock, ready, until);
  }

  void ring(fabric::Region&) override {
    const auto lock = worker_->lock();
    worker_->wake();
  }

  // For handles of this transport.
  Worker& worker() { return *worker_; }
  std::string describe(const UcxRegion& region) const {
    return to_descriptor({id_, region.token, region.memory().size(), reinterpret_cast<std::uint64_t>(region.memory().data()), label_,
                          worker_->address(), region.key});
  }
  void leave(UcxRegion& region) {
    auto lock = worker_->lock();
    regions_.erase(region.token);
    answers_.forget(region.token);
    take_back(region, lock);
    for (auto& [peer, endpoint] : endpoints_) worker_->send(endpoint, head(Kind::kReleased, region.token, 0), {});
    if (region.handle) worker_->library().mem_unmap(worker_->context(), region.handle);
  }
  void leave(UcxRemote& remote) {
    const auto lock = worker_->lock();
    remotes_.erase(remote.stream);
    if (remote.key) worker_->library().rkey_destroy(remote.key);
    worker_->send(remote.endpoint, head(Kind::kDetach, remote.description.token, remote.stream), {});
    --remote.endpoint->users;
  }
  // Whoever does not go on sending what is being written to the transfer's memory is cut off.
  void leave(UcxTransfer& transfer) {
    auto lock = worker_->lock();
    const auto quiet = [&transfer] { return transfer.arriving == 0; };
    if (!worker_->wait(lock, quiet, now() + options_.dead_after)) {
      transfer.remote.endpoint->failed = true;
      close_failed();
      if (!worker_->wait(lock, quiet, now() + options_.connect_time)) log_error("UCX does not give memory back", {{"messages", transfer.arriving.load()}});
    }
    reads_.erase(transfer.name);
  }
  bool alive(const Endpoint& endpoint) const { return !endpoint.failed && now() - endpoint.heard.load() < options_.dead_after; }
  fabric::Path path(const UcxRemote& remote);

 private:
  Head head(Kind kind, std::uint64_t token, std::uint64_t stream) const { return {id_, token, stream, 0, kind}; }
  std::string introduction() const {
    return to_descriptor({id_, 0, 0, 0, label_, worker_->address(), {}});
  }
  static Error gone(const UcxRemote& remote) { return {ErrorCode::kUnavailable, remote.description.label + " is gone", {}}; }

  Status enter(UcxRegion& region) {
    const auto lock = worker_->lock();
    ucp_mem_map_params_t params{};
    params.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH;
    params.address = region.memory().data();
    params.length = region.memory().size();
    const Library& l = worker_->library();
    ucs_status_t status = l.mem_map(worker_->context(), &params, &region.handle);
    void* key = nullptr;
    std::size_t bytes = 0;
    if (status == UCS_OK) status = l.rkey_pack(worker_->context(), region.handle, &key, &bytes);
    if (status != UCS_OK) return worker_->failure("UCX cannot register " + std::to_string(params.length) + " bytes", status);
    region.key.assign(static_cast<const char*>(key), bytes);
    l.rkey_buffer_release(key);
    regions_[region.token] = &region;
    return Status::success();
  }

  Result<std::shared_ptr<Endpoint>> endpoint_to(std::uint64_t peer, const std::string& label, const std::string& address) {
    auto& known = endpoints_[peer];
    if (known && !known->failed) return known;
    if (known) worker_->close(std::exchange(known, nullptr));
    auto made = worker_->connect(peer, label, address);
    if (!made.ok()) endpoints_.erase(peer);
    else known = *made;
    return made;
  }

  // kCancelled: the connection broke.
  Result<std::unique_ptr<UcxRemote>> attach_to(const Description& description) {
    auto lock = worker_->lock();
    ASSIGN_OR_RETURN(auto endpoint, endpoint_to(description.transport, description.label, description.address));
    auto remote = std::make_unique<UcxRemote>(*this, description, endpoint);
    UcxRemote& r = *remote;
    ++endpoint->users;
    remotes_[r.stream] = &r;
    worker_->send(endpoint, head(Kind::kAttach, description.token, r.stream), introduction());
    const bool answered = worker_->wait(lock, [&r] { return r.attached || r.released || r.endpoint->failed; }, now() + options_.connect_time);
    const bool broken = endpoint->failed;
    auto unpacked = UCS_OK;
    if (r.attached && !broken) r.asks = reads_are_emulated(*endpoint);
    if (r.attached && !broken) unpacked = worker_->library().ep_rkey_unpack(endpoint->ep, description.key.data(), &r.key);
    lock.unlock();
    if (!answered) return Error{ErrorCode::kDeadlineExceeded, description.label + " did not answer over UCX in time; is the network between the hosts open?", {}};
    if (r.released) return Error{ErrorCode::kUnavailable, description.label + " no longer has the memory that it announced", {}};
    if (broken) return Error{ErrorCode::kCancelled, "the connection to " + description.label + " over UCX broke", {}};
    if (unpacked != UCS_OK) return worker_->failure("the memory of " + description.label + " cannot be reached", unpacked);
    return remote;
  }

  Status ask(UcxTransfer& transfer) {
    if (transfer.broken) return gone(transfer.remote);
    reads_.erase(transfer.name);
    transfer.name = ++last_read_;
    transfer.missing = transfer.parcels.size();
    reads_[transfer.name] = &transfer;
    worker_->send(transfer.remote.endpoint, head(Kind::kRead, transfer.remote.description.token, transfer.name), to_request(transfer.pieces));
    return Status::success();
  }

  static Result<bool> answered(UcxTransfer& transfer) {
    if (transfer.missing == 0) return true;
    if (!transfer.broken && transfer.remote.alive()) return false;
    return gone(transfer.remote);
  }

  void serve(const Head& h, std::span<const std::byte> payload) {
    const auto region = regions_.find(h.token);
    const auto to = endpoints_.find(h.from);
    if (region == regions_.end() || to == endpoints_.end()) return;
    Answers::Answer answer{to->second, h.token, h.stream, region->second->memory(), &region->second->lent};
    if (!read_request(payload, answer.memory.size(), answer.pieces)) return log_error("another rank asks for memory that is not here", {{"bytes", payload.size()}});
    answer.parcels = parcels_of(answer.pieces);
    answers_.add(std::move(answer));
    worker_->defer([this] { answers_.move_on(*worker_); });
  }

  // The transfer that waits for a parcel, if there still is one.
  UcxTransfer* awaited(const Head& h) {
    if (const auto from = endpoints_.find(h.from); from != endpoints_.end()) from->second->heard = now();
    const auto read = reads_.find(h.token);
    return read == reads_.end() || h.number >= read->second->parcels.size() || read->second->missing == 0 ? nullptr : read->second;
  }

  std::byte* place(const Head& h, std::size_t bytes) {
    UcxTransfer* const transfer = awaited(h);
    if (transfer == nullptr || transfer->copies.contains(h.number)) return nullptr;
    const Parcel& parcel = transfer->parcels[h.number];
    if (parcel.bytes != bytes || !parcel.by_rendezvous()) return nullptr;
    std::byte* const to = parcel.copied() ? (transfer->copies[h.number] = copies_.take()).get() : transfer->pieces[parcel.first].local;
    ++transfer->arriving;
    return to;
  }

  void placed(const Head& h, bool good) {
    const auto read = reads_.find(h.token);
    if (read == reads_.end()) return;
    UcxTransfer& transfer = *read->second;
    if (const auto copy = transfer.copies.find(h.number); copy != transfer.copies.end()) {
      if (good) scatter(transfer.pieces_of(h.number), copy->second.get());
      copies_.give(std::move(copy->second));
      transfer.copies.erase(copy);
    }
    if (!good) transfer.broken = true;
    else if (transfer.missing > 0) --transfer.missing;
    --transfer.arriving;
  }

  void unpack(const Head& h, std::span<const std::byte> payload) {
    UcxTransfer* const transfer = awaited(h);
    if (transfer == nullptr || transfer->parcels[h.number].bytes != payload.size()) return;
    scatter(transfer->pieces_of(h.number), payload.data());
    --transfer->missing;
  }

  // Waits for messages that read the region's memory; whoever does not take them is cut off.
  void take_back(UcxRegion& region, Worker::Lock& lock) {
    const auto back = [&region] { return region.lent == 0; };
    if (worker_->wait(lock, back, now() + options_.dead_after)) return;
    for (auto& [peer, endpoint] : endpoints_) {
      if (endpoint->in_flight > 0) endpoint->failed = true;
    }
    close_failed();
    if (!worker_->wait(lock, back, now() + options_.connect_time)) log_error("UCX does not give memory back", {{"messages", region.lent}});
  }

  // The devices of a connection's lanes, as UCX prints them: "#   lane[0]:  2:tcp/eth0.0 md[1] ...".
  std::set<std::string> lanes_of(const Endpoint& endpoint) const {
    std::set<std::string> lanes;
    if (endpoint.failed) return lanes;
    char* text = nullptr;
    std::size_t bytes = 0;
    FILE* const stream = open_memstream(&text, &bytes);
    worker_->library().ep_print_info(endpoint.ep, stream);
    std::fclose(stream);
    const std::string info(text, bytes);
    std::free(text);
    for (std::size_t at = info.find("lane["); at != std::string::npos; at = info.find("lane[", at + 1)) {
      const std::size_t slash = info.find('/', at), colon = info.rfind(':', slash), end = info.find(' ', slash);
      if (end == std::string::npos) break;
      const std::string lane = info.substr(colon + 1, end - colon - 1);
      lanes.insert(lane.substr(0, lane.rfind('.')));
    }
    return lanes;
  }
  bool reads_are_emulated(const Endpoint& endpoint) const {
    return std::ranges::all_of(lanes_of(endpoint), [](const std::string& lane) { return lane.starts_with("tcp/"); });
  }

  void close_failed() {
    std::erase_if(endpoints_, [this](auto& entry) {
      if (entry.second->failed) worker_->close(entry.second);
      return entry.second->failed.load();
    });
  }

  // Sends what has gathered; waits for room first.
  Status flush(UcxRemote& remote) {
    auto lock = worker_->lock();
    Endpoint& endpoint = *remote.endpoint;
    const auto room = [&] { return endpoint.in_flight < kMostInFlight || endpoint.failed; };
    if (!room()) {
      const TimePoint deadline = now() + std::max<Duration>(options_.dead_after, options_.connect_time);
      if (!worker_->wait(lock, room, deadline)) return Error{ErrorCode::kDeadlineExceeded, remote.description.label + " does not take what is sent to it", {}};
    }
    if (endpoint.failed || remote.released) return gone(remote);
    Head h = head(Kind::kRecords, remote.description.token, remote.stream);
    h.number = remote.next_number++;
    worker_->send(remote.endpoint, h, std::exchange(remote.records, {}));
    return Status::success();
  }

  void receive(const Head& h, std::span<const std::byte> payload) {
    if (const auto from = endpoints_.find(h.from); from != endpoints_.end()) from->second->heard = now();
    switch (h.kind) {
      case Kind::kRecords: return take(h, payload);
      case Kind::kAttach:
        return worker_->defer([this, h, text = std::string(reinterpret_cast<const char*>(payload.data()), payload.size())] { attach(h, text); });
      case Kind::kDetach: return detach(h);
      case Kind::kAttached:
        if (const auto r = remotes_.find(h.stream); r != remotes_.end()) r->second->attached = true;
        return;
      case Kind::kReleased:
        for (auto& [stream, r] : remotes_) {
          if (r->description.token == h.token && r->description.transport == h.from) r->released = true;
        }
        return;
      case Kind::kRead: return serve(h, payload);
      case Kind::kParcel: return unpack(h, payload);
      case Kind::kBeat: return;
    }
  }

  void take(const Head& h, std::span<const std::byte> payload) {
    const auto region = regions_.find(h.token);
    if (region == regions_.end()) return;
    if (!region->second->inbox.take(h, payload)) log_error("a message from another rank cannot be applied", {{"bytes", payload.size()}});
    region->second->changed();
  }

  void attach(const Head& h, const std::string& text) {
    const auto peer = read_descriptor(text);
    if (!peer.ok() || peer->transport != h.from) return;
    const bool known = regions_.contains(h.token);
    if (!known && !endpoints_.contains(h.from)) return;  // a stranger
    const auto endpoint = endpoint_to(h.from, peer->label, peer->address);
    if (!endpoint.ok()) return;
    (*endpoint)->heard = now();
    if (known) ++(*endpoint)->attached;
    worker_->send(*endpoint, head(known ? Kind::kAttached : Kind::kReleased, h.token, h.stream), {});
  }

  void detach(const Head& h) {
    if (const auto region = regions_.find(h.token); region != regions_.end()) region->second->inbox.forget(h.stream);
    if (const auto from = endpoints_.find(h.from); from != endpoints_.end()) --from->second->attached;
  }

  void tick() {
    const TimePoint t = now();
    const bool slept = last_tick_ != TimePoint() && t - last_tick_ > options_.dead_after / 2;  // this process was stopped
    last_tick_ = t;
    for (auto& [peer, endpoint] : endpoints_) {
      if (slept) endpoint->heard = t;
      worker_->send(endpoint, head(Kind::kBeat, 0, 0), {});
    }
    close_unused();
  }

  // Those to the dead, and those that nobody has used for a while: groups that are rebuilt find theirs.
  void close_unused() {
    std::erase_if(endpoints_, [this](auto& entry) {
      Endpoint& e = *entry.second;
      if (e.users > 0 || (e.attached > 0 && alive(e))) e.used = now();
      if (now() - e.used < kLinger) return false;
      worker_->close(entry.second);
      return true;
    });
  }

  const Options options_;
  std::string label_;
  const std::uint64_t id_ = random_number();
  std::unordered_map<std::uint64_t, std::shared_ptr<Endpoint>> endpoints_;  // by transport
  std::unordered_map<std::uint64_t, UcxRegion*> regions_;                   // by token
  std::unordered_map<std::uint64_t, UcxRemote*> remotes_;                   // by stream
  std::unordered_map<std::uint64_t, UcxTransfer*> reads_;                   // that ask, by name
  std::uint64_t last_read_ = random_number();
  Copies copies_;
  Answers answers_{id_};
  TimePoint last_tick_;
  std::unique_ptr<Worker> worker_;  // last: its thread uses the above
};

fabric::Path Ucx::path(const UcxRemote& remote) {
  const auto lock = worker_->lock();
  fabric::Path path{"ucx", 0};
  for (const std::string& lane : lanes_of(*remote.endpoint)) {
    path.name += (path.name == "ucx" ? " " : ", ") + lane;
    path.rated = std::max(path.rated, rated(lane));
  }
  return path;
}

UcxRegion::~UcxRegion() { owner_.leave(*this); }
std::string UcxRegion::descriptor() const { return owner_.describe(*this); }
UcxRemote::~UcxRemote() { owner_.leave(*this); }
bool UcxRemote::alive() const { return !released && owner_.alive(*endpoint); }
fabric::Path UcxRemote::path() const { return owner_.path(*this); }

UcxTransfer::~UcxTransfer() {
  const TimePoint deadline = now() + std::chrono::seconds(5);
  if (asks) owner.leave(*this);
  while (!requests.empty() && now() < deadline) {
    const auto done = owner.poll(*this);
    if (!done.ok()) continue;
  }
}

}  // namespace

Result<std::unique_ptr<fabric::FarTransport>> transport(const Options& options) {
  auto ucx = std::make_unique<Ucx>(options);
  RETURN_IF_ERROR(ucx->open());
  return std::unique_ptr<fabric::FarTransport>(std::move(ucx));
}

}  // namespace braid::transport::ucx
