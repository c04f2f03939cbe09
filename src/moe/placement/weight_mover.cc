// SPDX-License-Identifier: Apache-2.0
#include "moe/placement/weight_mover.h"

#include <algorithm>
#include <string>

#include "base/check.h"
#include "base/log.h"

namespace braid::moe {
namespace {

constexpr std::size_t kPiece = 1 << 20;

std::int32_t source_of(const Placement& held, std::int32_t expert, std::int32_t to) {
  const auto holders = held.slots_of(expert);
  for (const std::int32_t s : holders) {
    if (held.rank_of(s) == held.rank_of(to)) return s;
  }
  return holders[static_cast<std::size_t>(to) % holders.size()];
}

// Kernel and largest record of a rank's layers, as a line that ranks exchange.
std::string packing_of(const std::vector<Layer*>& layers, bool apart) {
  std::size_t most = 0;
  for (Layer* layer : layers) {
    for (const ops::PackedMlp& slot : layer->slots()) {
      const SlotRecord record(slot);
      most = std::max(most, apart ? record.buffer_bytes() : record.bytes());
    }
  }
  return std::string(layers.front()->parts().mlp_kernel->name) + " " + std::to_string(most);
}

}  // namespace

std::vector<SlotMove> moves_between(const Placement& held, const Placement& wanted) {
  std::vector<SlotMove> moves;
  for (std::int32_t s = 0; s < wanted.slots(); ++s) {
    const std::int32_t expert = wanted.expert_in(s);
    if (expert >= 0 && expert != held.expert_in(s)) moves.push_back({source_of(held, expert, s), s});
  }
  return moves;
}

Result<std::unique_ptr<WeightMover>> WeightMover::create(fabric::Bootstrap& bootstrap, fabric::Transport& transport,
                                                         std::vector<Layer*> layers, Stream& stream, Duration timeout) {
  CHECK(!layers.empty() && 2 * bootstrap.size() <= fabric::kSignalWords);
  const auto slots = layers.front()->slots().size();
  for (Layer* layer : layers) CHECK(layer->slots().size() == slots);
  ASSIGN_OR_RETURN(const auto packings, bootstrap.all_gather(packing_of(layers, !stream.unified())));
  const auto kernel_of = [](const std::string& packing) { return packing.substr(0, packing.find(' ')); };
  std::size_t record = 0;
  for (std::size_t r = 0; r < packings.size(); ++r) {
    if (kernel_of(packings[r]) != kernel_of(packings[0])) {
      return invalid_argument("experts cannot move between ranks: rank " + std::to_string(r) + " packs weights for the kernel " +
                              kernel_of(packings[r]) + ", rank 0 for " + kernel_of(packings[0]) +
                              "; force the same with --kernel, or leave --enable-eplb out", "enable-eplb");
    }
    record = std::max<std::size_t>(record, std::stoull(packings[r].substr(packings[r].find(' '))));
  }
  record = SlotRecord::aligned(record);
  log_info("expert load balancing", {{"layers", layers.size()}, {"slots_per_rank", slots}, {"slot_bytes", record},
                                     {"transport", stream.unified() ? std::string(transport.name()) : "copies between " + stream.capabilities().device + " devices"},
                                     {"staging_bytes", slots * record}});
  auto mover = std::unique_ptr<WeightMover>(new WeightMover(std::move(layers), record, timeout));
  RETURN_IF_ERROR(mover->share(bootstrap, transport, stream));
  return mover;
}

Status WeightMover::share(fabric::Bootstrap& bootstrap, fabric::Transport& transport, Stream& stream) {
  const std::size_t slots = layers_.front()->slots().size(), host_bytes = stream.unified() ? record_bytes_ : SlotRecord::kHeaderBytes;
  ASSIGN_OR_RETURN(window_, fabric::create_window(bootstrap, transport, "expert weights", slots * host_bytes, timeout_));
  if (stream.unified()) return {};
  ASSIGN_OR_RETURN(peers_, stream.peer_window(slots * record_bytes_));
  ASSIGN_OR_RETURN(const auto descriptors, bootstrap.all_gather(peers_->descriptor()));
  RETURN_IF_ERROR(peers_->connect(descriptors));
  // Nobody writes before everybody has connected.
  RETURN_IF_ERROR(bootstrap.all_gather("connected"));
  return {};
}

Result<std::vector<Incoming>> WeightMover::fetch(std::size_t index, const Placement& wanted, std::vector<Incoming> spare) {
  Layer& layer = *layers_[index];
  const int ranks = window_->size(), mine = window_->rank(), name = layer.parts().index;
  RETURN_IF_ERROR(tell_all(ranks));
  RETURN_IF_ERROR(wait_for_all(ranks, fetch_, {"the reading of moved experts", name}));
  ++fetch_;
  const auto moves = moves_between(layer.placement(), wanted);
  for (const SlotMove& move : moves) {
    if (wanted.rank_of(move.from) == mine) RETURN_IF_ERROR(send(layer, wanted, move));
  }
  if (peers_) RETURN_IF_ERROR(peers_->flush(timeout_));
  RETURN_IF_ERROR(tell_all(0));
  RETURN_IF_ERROR(wait_for_all(0, fetch_, {"the moving of experts", name}));
  std::vector<Incoming> incoming;
  for (const SlotMove& move : moves) {
    if (wanted.rank_of(move.to) != mine) continue;
    Incoming room;
    if (!spare.empty()) {
      room = std::move(spare.back());
      spare.pop_back();
    }
    ASSIGN_OR_RETURN(auto in, arrived(static_cast<std::size_t>(move.to % wanted.slots_per_rank()), std::move(room)));
    incoming.push_back(std::move(in));
  }
  return incoming;
}

Result<Incoming> WeightMover::arrived(std::size_t slot, Incoming in) const {
  in.slot = slot;
  const std::span<const std::byte> staging = window_->local();
  if (!peers_) {
    RETURN_IF_ERROR(SlotRecord::read(staging.subspan(slot * record_bytes_, record_bytes_), in.weights));
    return in;
  }
  const auto header = staging.subspan(slot * SlotRecord::kHeaderBytes, SlotRecord::kHeaderBytes);
  RETURN_IF_ERROR(SlotRecord::check(header, record_bytes_));
  in.header.assign(header.begin(), header.end());
  in.buffers = {peers_->data() + slot * record_bytes_, record_bytes_};
  return in;
}

Status WeightMover::send(Layer& layer, const Placement& placement, const SlotMove& move) {
  const std::int32_t n = placement.slots_per_rank();
  const SlotRecord record(layer.slots()[static_cast<std::size_t>(move.from % n)]);
  const int to = placement.rank_of(move.to);
  const auto slot = static_cast<std::size_t>(move.to % n);
  if (to != window_->rank()) sent_bytes_ += record.bytes();
  if (peers_) return send_buffers(record, to, slot);
  CHECK(record.bytes() <= record_bytes_);
  std::size_t offset = slot * record_bytes_;
  for (std::span<const std::byte> piece : record.pieces()) {
    while (!piece.empty()) {
      const auto part = piece.first(std::min(piece.size(), kPiece));
      RETURN_IF_ERROR(window_->put(to, offset, part));
      offset += part.size();
      piece = piece.subspan(part.size());
    }
  }
  return Status::success();
}

Status WeightMover::send_buffers(const SlotRecord& record, int to, std::size_t slot) {
  CHECK(record.buffer_bytes() <= record_bytes_);
  std::size_t offset = slot * record_bytes_;
  for (const std::span<const std::byte> buffer : record.buffers()) {
    if (!buffer.empty()) RETURN_IF_ERROR(peers_->put(to, offset, buffer.data(), buffer.size()));
    offset += SlotRecord::aligned(buffer.size());
  }
  return window_->put(to, slot * SlotRecord::kHeaderBytes, record.header());
}

Status WeightMover::tell_all(int first_word) {
  for (int r = 0; r < window_->size(); ++r) {
    if (r != window_->rank()) RETURN_IF_ERROR(window_->signal(r, first_word + window_->rank(), fetch_));
  }
  return Status::success();
}

Status WeightMover::wait_for_all(int first_word, std::uint64_t fetch, const fabric::Site& site) {
  for (int r = 0; r < window_->size(); ++r) {
    if (r != window_->rank()) RETURN_IF_ERROR(window_->wait(r, first_word + r, fetch, site));
  }
  return Status::success();
}

}  // namespace braid::moe
