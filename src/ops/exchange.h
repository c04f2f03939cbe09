// SPDX-License-Identifier: Apache-2.0
// Exchange of tokens between ranks whose devices write each other's memory: the four halves of a MoE
// layer's journey (moe/prepare.h) as kernels, with every count on the device. Nothing waits for the
// host, so that the halves can be recorded and replayed.
//
// One copy of a row travels per token and destination rank, to a fixed place, with the slots and
// weights of all choices of its token. A destination finds its own work in them:
// a counting sort by local slot, done by its device. Results of a token are summed where they were
// computed and one row a rank returns; the source adds those rows in the order of ranks behind
// the results of its own slots. With row_per_choice every result returns as it is, in float32, and the source sums all
// in the order of choices, as a single rank does.
//
// What runs beside the stream's other work begins when what was enqueued before is done, takes few multiprocessors, and is over before
// the other half of the same direction begins. In between, the stream's large kernels leave it those multiprocessors.
//
// Thread rules: those of the stream. Waits of kernels end by `timeout` or when the group is given up;
// Stream::wait() then tells which rank was waited for, and the exchange is not used any more.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/clock.h"
#include "tensor/device.h"

namespace braid::ops {

class Exchange {
 public:
  static constexpr int kMostRanks = 16;
  static constexpr int kMostTopK = 32;
  static constexpr int kMostSlots = 1024;

  // How rows lie when they have been received.
  enum class Output {
    kInPlace,     // where they arrived or were staged; results find theirs by row_token
    kGrouped,     // bfloat16, a row for each result, those of a slot behind each other
    kGroupedFp8,  // the same as e4m3 codes and scales of 128 columns
  };
  struct Options {
    int ranks = 1;
    int rank = 0;
    int top_k = 0;
    int slots = 0;                    // most of a rank
    std::int64_t hidden = 0;
    std::int64_t tokens = 0;          // most of one send() of a rank
    std::int64_t staging_tokens = 0;  // kInPlace: rows of staging(), at least `tokens`
    bool fp8 = false;                 // rows travel as e4m3 with scales; not with kInPlace
    bool everywhere = false;          // every row goes to every rank
    bool row_per_choice = false;
    DType returns = DType::kF32;      // or kBF16
    Output output = Output::kInPlace;
    std::int64_t pitch = 0;           // grouped: rows from one slot to the next; 0: no gaps
    Duration timeout = std::chrono::seconds(60);
    // Asked while the stream is waited for: true when the group is given up, so that waits end.
    std::function<bool()> given_up;
    int blocks = 0;                   // of a kernel; 0: as many as the device runs at once
  };

  // Who has which expert: expert e in replicas[first[e]] .. replicas[first[e + 1]], slots counted
  // over all ranks. Where kernels read it.
  struct Slots {
    int each = 0;  // slots of a rank
    const std::int32_t* first = nullptr;
    const std::int32_t* replicas = nullptr;
  };
  struct Tokens {
    Activations x;                        // bfloat16 [tokens, hidden]; valid until received
    const std::int32_t* ids = nullptr;    // [tokens, top_k]; valid until received
    const float* weights = nullptr;       // the same
    Slots slots;
    std::int64_t first_row = 0;           // of the step; replicas take turns by rows
    int layer = 0;                        // for messages
    bool beside = false;                  // send() and send_back() run beside the stream's other work
    std::int64_t* slot_rows = nullptr;    // [Slots::each] grow by the results of each slot; null: nobody asks
  };
  struct Received {
    Activations x;                             // bfloat16, or e4m3 (kGroupedFp8)
    const float* scales = nullptr;             // kGroupedFp8: [128-column blocks, scale_stride]
    std::int64_t scale_stride = 0;
    const std::int32_t* offsets = nullptr;     // [Slots::each + 1]
    const std::int32_t* counts = nullptr;      // [Slots::each]
    const std::int32_t* row_token = nullptr;   // [results] rows of x, in the order of slots (kInPlace)
  };
  // Results, a row for each, as Received orders them: float32 or bfloat16.
  struct Results {
    Activations rows;
  };

  virtual ~Exchange() = default;

  // Of this rank's memory; every rank gets all of them, in the order of ranks.
  virtual std::string descriptor() const = 0;
  virtual Status connect(std::span<const std::string> descriptors) = 0;
  // Bytes that it holds on the device.
  virtual std::size_t bytes() const = 0;
  // kInPlace: memory for the tokens of a step; rows of it need not be copied for the own slots.
  virtual Activations staging() const = 0;

  virtual void send(const Tokens& tokens) = 0;
  virtual Received receive() = 0;
  // send() and receive() as one kernel.
  virtual Received send_and_receive(const Tokens& tokens) = 0;
  virtual void send_back(const Results& results) = 0;
  // out[t] += what came back, or = when `replace`. out is float32 or bfloat16.
  virtual void collect(const Activations& out, bool replace) = 0;
  virtual void send_back_and_collect(const Results& results, const Activations& out, bool replace) = 0;
};

// Null where a device has no such kernels.
using MakeExchange = Result<std::unique_ptr<Exchange>> (*)(const Exchange::Options&, Stream&);

}  // namespace braid::ops
