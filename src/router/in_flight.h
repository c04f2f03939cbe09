// SPDX-License-Identifier: Apache-2.0
// What routers have sent and not yet seen end: requests and tokens by endpoint. A request of this router
// counts from sent() to done(), never by a timer; those of others as they tell (Router::set_others).
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "router/catalog.h"
#include "router/plugin.h"

namespace braid::router {

// `inflight-load-producer`. Tokens of a request: those of its prompt that are not cached where it
// goes, until the first chunk; and, with addEstimatedOutputTokens, the output expected, until the end.
class InFlightLoad final : public Plugin {
 public:
  struct Parameters {
    bool add_output = false;
    double output_ratio = 1.5;
    std::int64_t max_output = 0;
    std::string prefix_producer;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("addEstimatedOutputTokens", self.add_output, {.help = "Count the output expected too"});
      v.field("outputRatio", self.output_ratio, {.help = "Output tokens expected per prompt token", .min = 0});
      v.field("maxEstimatedOutputTokens", self.max_output, {.help = "Most output tokens expected; 0: no limit", .min = 0});
      v.field("prefixMatchInfoProducerName", self.prefix_producer, {.help = "Which producer tells what is cached"});
    }
  };
  explicit InFlightLoad(Parameters parameters) : parameters_(std::move(parameters)) {}

  struct Load {
    std::int64_t requests = 0;
    std::int64_t tokens = 0;
  };
  std::int64_t requests(Slot slot) const { return own(slot).requests + others(slot).requests; }
  std::int64_t tokens(Slot slot) const { return own(slot).tokens + others(slot).tokens; }
  Load own(Slot slot) const { return slot < loads_.size() ? loads_[slot].own : Load{}; }
  void clear_others() { others_.clear(); }
  void add_others(Slot slot, Load load);
  // Of this request's prompt, on that endpoint.
  std::int64_t uncached_tokens(Context& context, EndpointIndex endpoint) const;

  Status connect(Plugins& plugins) override;
  void sent(const Sent& sent) override;
  void first_chunk(FlightNumber flight, TimePoint now) override;
  void done(FlightNumber flight, const ResponseFacts& facts, TimePoint now) override;
  void endpoint_removed(Slot slot, std::string_view name) override;

 private:
  struct Counted {
    Load own;
    std::uint32_t generation = 0;  // a slot used again is another endpoint
  };
  struct Share {
    Slot slot = kNoSlot;
    std::uint32_t generation = 0;
    std::int64_t prompt = 0;
    std::int64_t output = 0;
  };
  struct Flight {
    Share decode, prefill;
  };

  Load others(Slot slot) const { return slot < others_.size() ? others_[slot] : Load{}; }
  std::int64_t uncached(const Sent& sent, EndpointIndex endpoint) const;
  Share take(Slot slot, std::int64_t prompt, std::int64_t output);
  void release_prompt(Share& share);
  void release(Share& share);

  Parameters parameters_;
  PrefixProducer* prefixes_ = nullptr;
  std::vector<Counted> loads_;
  std::vector<Load> others_;
  std::unordered_map<FlightNumber, Flight> flights_;
};

// The producer called `name`; without a name the only one, made if there is none.
Status connect_in_flight(Plugins& plugins, const Plugin& user, const std::string& name, InFlightLoad*& load);

}  // namespace braid::router
