// SPDX-License-Identifier: Apache-2.0
// Brings tokens to their experts and the results home: the PrepareFinalize half of a MoE layer.
// Four halves in this order, once per layer and chunk of tokens:
//   send, receive           what the local experts work on arrives
//   send_back, collect      their results return to the tokens
// Other work (the shared expert, another micro-batch) may run between send and receive and between
// send_back and collect. All ranks of a group make the same calls, a rank without tokens too.
// Thread rules: one thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "moe/placement/placement.h"
#include "ops/exchange.h"
#include "tensor/tensor.h"

namespace braid::moe {

// How rows lie before the experts; an Experts half (experts.h) takes one of them.
enum class Format {
  kRagged,  // results of one expert follow those of the expert before; rows are found by an index
  kPadded,  // every expert has a slab of equal height, with its rows at the top
};
std::string_view name_of(Format format);

// Which experts each token goes to, and with what weight. ids and weights are [tokens, top_k];
// they lie where kernels read them and stay valid until collect().
struct Routing {
  std::int64_t tokens = 0;
  int top_k = 0;
  const std::int32_t* ids = nullptr;
  const float* weights = nullptr;
  const Placement* placement = nullptr;  // of this layer
  std::int64_t first_row = 0;            // of the step; replicas of an expert take turns by rows
  std::int64_t most_tokens = 0;          // of any rank in this call
  const float* shared_weights = nullptr;  // [tokens] of the shared expert; null: all 1
  // Where the host knows of no count:
  ops::Exchange::Slots slots = {};        // the placement, where kernels read it
  bool beside = false;                    // what leaves may travel while the stream computes other things
  std::int64_t* slot_rows = nullptr;      // kernels add what each local slot computes; null: nobody asks
};

// What the local experts work on. Local slot s has offsets[s + 1] - offsets[s] results, from row
// first(s) on. Ragged: result r is of row row_token[r] of x. Padded: result r is of row r of x.
// When local() and there is a shared expert, it is one more slot, of all tokens. Arrays lie where
// kernels read them; the host reads them too unless local() or its memory is another one
// (Stream::unified). Then only most_rows is known of how many results there are.
// Valid until send_back().
struct Dispatched {
  Format format = Format::kRagged;
  Activations x;
  std::span<const std::int32_t> offsets;    // [local slots + 1]
  std::span<const std::int32_t> row_token;  // ragged: [pairs]; empty: result r is of row r
  std::int32_t slab_rows = 0;               // padded
  std::int64_t most_rows = -1;              // of results, where only kernels know how many; -1: the host does

  std::int32_t first(std::size_t slot) const {
    return format == Format::kPadded ? static_cast<std::int32_t>(slot) * slab_rows : offsets[slot];
  }
  std::int32_t count(std::size_t slot) const { return offsets[slot + 1] - offsets[slot]; }
  // Rows of results, those of padding too.
  std::int64_t rows() const {
    if (most_rows >= 0) return most_rows;
    return static_cast<std::int64_t>(format == Format::kPadded ? (offsets.size() - 1) * static_cast<std::size_t>(slab_rows) : row_token.size());
  }
};

// What has travelled since the object was made, as this rank sees it. Bytes, pairs and seconds are
// counted where the host moves the rows.
struct Traffic {
  std::uint64_t dispatches = 0;
  std::uint64_t tokens = 0;            // that this rank brought
  std::uint64_t dispatched_bytes = 0;  // written to other ranks before their experts work
  std::uint64_t returned_bytes = 0;    // results written to other ranks
  std::uint64_t pairs = 0;             // results that the local experts computed
  std::uint64_t padding_rows = 0;      // rows of slabs that held none
  double dispatch_seconds = 0;         // in send() and receive()
  double combine_seconds = 0;          // in send_back() and collect()
  std::vector<double> wait_seconds;    // part of both, by the rank waited for: its number in the deployment

  Traffic& operator+=(const Traffic& other);
};

class PrepareFinalize {
 public:
  virtual ~PrepareFinalize() = default;
  virtual std::string_view name() const = 0;
  virtual Format format() const = 0;
  // Most tokens of one send(); a layer splits what is more into chunks, all ranks equally many.
  virtual std::int64_t max_tokens() const = 0;
  // Nothing travels: receive() gives back what send() got, so the shared expert is one more slot of
  // it.
  virtual bool local() const = 0;
  // Memory for the tokens of a step, or nothing. What send() is given from there need not be copied
  // for the experts of the own rank.
  virtual Activations staging() const = 0;
  // Most results of one receive(), if that is more than a rank's own tokens make.
  virtual std::int64_t max_results() const { return 0; }
  virtual const Traffic& traffic() const = 0;

  virtual Status send(const Activations& x, const Routing& routing, int layer) = 0;
  virtual Result<Dispatched> receive() = 0;
  // results [Dispatched::rows(), hidden]; valid until collect().
  virtual Status send_back(Matrix<const float> results) = 0;
  // hidden[t] += sum over choices of weight * result, in the order of choices where the backend can.
  virtual Status collect(Matrix<float> hidden) = 0;
};

}  // namespace braid::moe
