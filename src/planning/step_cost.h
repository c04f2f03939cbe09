// SPDX-License-Identifier: Apache-2.0
// How long a step of a group of ranks takes, from what a model computes and how fast a machine does it.
//
// Every multiplication takes the time of its weights and that of its arithmetic, joined by a norm whose
// exponent says how far the two overlap. Attention likewise reads its cache and multiplies. What is left is
// counted by layers, by rows, and by bytes that cross links.
#pragma once

#include <array>
#include <string_view>

#include "model/config.h"

namespace braid::planning {

// What a model computes, in weights and bytes. Layers are alike but for their MLPs.
struct ModelShape {
  double layers = 0, moe_layers = 0, hidden = 0;
  double attention = 0;        // weights of a layer
  double dense = 0;            // of a dense layer's MLP
  double shared = 0;           // of a mixture's shared expert and router
  double experts = 0, top_k = 0, expert = 0;  // weights of one
  double head = 0, vocabulary = 0;
  double cache_row = 0;        // bytes of one token in one layer
  double decode_flops = 0;     // of one query and one key in one layer, by the cache's rows
  double prefill_flops = 0;    // the same for prompts
  bool fp8 = false;

  double weight_bytes() const { return fp8 ? 1 : 2; }
  double cache_bytes() const { return layers * cache_row; }  // of one token
};

ModelShape shape_of(const model::Config& config, bool fp8);

// What one rank computes in one step.
struct RankWork {
  double prefill_rows = 0;
  double prefill_pairs = 0;  // of queries and keys
  double decode_rows = 0;
  double decode_keys = 0;    // read, summed over the rows
  double logits = 0;         // rows of them

  double rows() const { return prefill_rows + decode_rows; }
};

// How fast a machine is. Seconds, bytes a second, FLOP a second.
struct Rates {
  double step = 0, layer = 0;  // whatever a step holds
  double bandwidth = 0;        // of weights
  double flops = 0, fp8_flops = 0;
  double attention_flops = 0;
  double cache_bandwidth = 0;
  double row_passes = 0;       // how often a row of activations crosses memory in a layer
  double host_bandwidth = 0;   // of logits on their way to the host; 0: they are there
  double overlap = 1;          // exponent: 1 in turn, large at the same time
};

// From one rank to all others, one direction.
struct Link {
  double latency = 0;
  double bandwidth = 0;
};

// How the ranks of a group share the experts.
struct Exchange {
  int ranks = 1;
  int ranks_per_node = 8;
  Link node;             // to ranks of the same node
  Link fabric;           // to other nodes
  double dispatch_bytes = 2;  // of an element on its way to an expert
  double imbalance = 1;       // experts' rows on the busiest rank over the mean
  bool overlapped = false;    // two micro-batches: the exchange of one beside the arithmetic of the other
};

enum class Resource { kFixed, kWeights, kArithmetic, kAttention, kActivations, kNetwork, kHost };
inline constexpr int kResources = 7;
std::string_view name_of(Resource resource);

struct StepTime {
  std::array<double, kResources> parts{};  // seconds, by what the time goes to
  double hidden = 0;                        // of them, beside something else

  double& operator[](Resource r) { return parts[static_cast<std::size_t>(r)]; }
  double operator[](Resource r) const { return parts[static_cast<std::size_t>(r)]; }
  double seconds() const;
  Resource limit() const;  // the largest part
};

// `busiest` is the rank that the others wait for, `all_rows` what all of them compute together.
StepTime step_time(const ModelShape& model, const Rates& rates, const Exchange& exchange, const RankWork& busiest, double all_rows);

// The expected number of other ranks that a row of activations goes to, once each.
double remote_copies(const ModelShape& model, int ranks, int ranks_in_reach);

}  // namespace braid::planning
