// SPDX-License-Identifier: Apache-2.0
// What bringing tokens to their experts costs, summed over the layers and steps of this rank.
#pragma once

#include "metrics/metrics.h"
#include "moe/prepare.h"

namespace braid::engine {

class MoeMetrics {
 public:
  // Adds what has happened since the last call; a count that fell belongs to a new group of ranks.
  void observe(const moe::Traffic& traffic);

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.metric("braid:moe_dispatches", self.dispatches_, "Dispatches, of one layer and chunk of tokens each");
    v.metric("braid:moe_dispatch_seconds", self.dispatch_seconds_, "Time spent bringing tokens to experts, waits too");
    v.metric("braid:moe_combine_seconds", self.combine_seconds_, "Time spent bringing results home, waits too");
    v.metric("braid:moe_wait_seconds", self.wait_seconds_, "Part of both that was spent waiting, by the rank waited for");
    v.metric("braid:moe_dispatched_bytes", self.dispatched_bytes_, "Bytes of tokens written to other ranks");
    v.metric("braid:moe_returned_bytes", self.returned_bytes_, "Bytes of results written to other ranks");
    v.metric("braid:moe_tokens", self.tokens_, "Tokens that this rank brought to MoE layers");
    v.metric("braid:moe_expert_rows", self.expert_rows_, "Rows that the experts of this rank computed");
    v.metric("braid:moe_padding_rows", self.padding_rows_, "Rows of padded slabs that held no token");
  }

 private:
  metrics::Counter dispatches_, dispatch_seconds_, combine_seconds_;
  metrics::Counter dispatched_bytes_, returned_bytes_, tokens_, expert_rows_, padding_rows_;
  metrics::Family<metrics::Counter> wait_seconds_{{"peer"}};
  moe::Traffic seen_;
};

}  // namespace braid::engine
