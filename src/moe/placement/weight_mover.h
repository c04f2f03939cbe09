// SPDX-License-Identifier: Apache-2.0
// Carries the weights of experts between ranks while the layers go on computing. Every rank writes
// the experts that others are to get straight into their staging memory, one place a slot:
//
//   staging  [slots of a rank][record_bytes]   SlotRecord of the expert that comes into the slot
//
// Where kernels have memory of their own, staging has the headers of the records only, and their buffers are written by
// the copy engine into memory beside the slots', from where they are copied when the placement changes.
//
// Word r of the window: the last fetch whose records rank r has written here; word ranks + r: the
// last fetch that rank r has read, after which its staging may be written again.
// Thread rules: one thread, which need not be that of the layers.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "fabric/group.h"
#include "moe/layer.h"
#include "moe/slot_weights.h"

namespace braid::moe {

// Where an expert comes from.
struct SlotMove {
  std::int32_t from = 0;  // slot that holds it
  std::int32_t to = 0;    // slot that gets it
};

// What has to move so that a layer changes from `held` to `wanted`. An expert that the rank itself has
// comes from there, else the ranks that hold it share the work.
std::vector<SlotMove> moves_between(const Placement& held, const Placement& wanted);

// Weights that wait to take their slots.
struct Incoming {
  std::size_t slot = 0;  // local
  ops::PackedMlp weights;
  std::vector<std::byte> header;         // of a record,
  std::span<const std::byte> buffers{};  // whose weights are still here, in memory for kernels
};

class WeightMover {
 public:
  // Collective. All layers have equally many slots. Errors: ranks whose kernels pack weights differently.
  // `stream` is the layers', which this object makes no kernel or copy wait for.
  static Result<std::unique_ptr<WeightMover>> create(fabric::Bootstrap& bootstrap, fabric::Transport& transport,
                                                     std::vector<Layer*> layers, Stream& stream, Duration timeout);

  // Collective: the weights of the local slots that have another expert in `wanted`, and the bytes that
  // this rank sent. The layer does not change. What the fetch before gave is not needed any more. `spare`: weights that
  // nobody needs, whose memory is used.
  Result<std::vector<Incoming>> fetch(std::size_t layer, const Placement& wanted, std::vector<Incoming> spare);
  // Written to other ranks, so far.
  std::uint64_t sent_bytes() const { return sent_bytes_; }

 private:
  WeightMover(std::vector<Layer*> layers, std::size_t record_bytes, Duration timeout)
      : layers_(std::move(layers)), record_bytes_(record_bytes), timeout_(timeout) {}
  Status share(fabric::Bootstrap& bootstrap, fabric::Transport& transport, Stream& stream);
  Status send(Layer& layer, const Placement& placement, const SlotMove& move);
  Status tell_all(int first_word);
  Status wait_for_all(int first_word, std::uint64_t fetch, const fabric::Site& site);

  Status send_buffers(const SlotRecord& record, int to, std::size_t slot);
  Result<Incoming> arrived(std::size_t slot, Incoming spare) const;

  const std::vector<Layer*> layers_;
  const std::size_t record_bytes_;  // in staging, or of kernels' memory
  const Duration timeout_;
  std::unique_ptr<fabric::Window> window_;
  std::unique_ptr<PeerWindow> peers_;  // null where memory is shared with kernels
  std::uint64_t fetch_ = 0;
  std::uint64_t sent_bytes_ = 0;
};

}  // namespace braid::moe
