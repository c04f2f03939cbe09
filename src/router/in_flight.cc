// SPDX-License-Identifier: Apache-2.0
#include "router/in_flight.h"

#include <algorithm>

#include "router/prefix_of.h"

namespace braid::router {

Status connect_in_flight(Plugins& plugins, const Plugin& user, const std::string& name, InFlightLoad*& load) {
  if (!name.empty()) {
    ASSIGN_OR_RETURN(load, plugins.require<InFlightLoad>(user, "inFlightLoadProducerName", name));
    return {};
  }
  ASSIGN_OR_RETURN(load, plugins.only<InFlightLoad>(user, "inFlightLoadProducerName", [] {
    auto made = std::make_unique<InFlightLoad>(InFlightLoad::Parameters{});
    made->name = made->type = "inflight-load-producer";
    return made;
  }));
  return {};
}

Status InFlightLoad::connect(Plugins& plugins) {
  if (!parameters_.prefix_producer.empty()) {
    ASSIGN_OR_RETURN(prefixes_, plugins.require<PrefixProducer>(*this, "prefixMatchInfoProducerName", parameters_.prefix_producer));
    return {};
  }
  for (const auto& plugin : plugins.all()) {
    if (prefixes_ == nullptr) prefixes_ = dynamic_cast<PrefixProducer*>(plugin.get());
  }
  return prefixes_ != nullptr ? Status() : connect_prefixes(plugins, *this, "", prefixes_);
}

std::int64_t InFlightLoad::uncached_tokens(Context& context, EndpointIndex endpoint) const {
  const std::int64_t prompt = context.request.prompt_tokens();
  const std::int64_t cached = prefixes_->match(context).cached_tokens(static_cast<std::size_t>(endpoint));
  return std::max<std::int64_t>(prompt - cached, 0);
}

std::int64_t InFlightLoad::uncached(const Sent& sent, EndpointIndex endpoint) const {
  const std::int64_t prompt = sent.request.prompt_tokens();
  if (!sent.data.looked_up[prefixes_->index]) return prompt;
  const std::int64_t cached = sent.data.prefixes[prefixes_->index].cached_tokens(static_cast<std::size_t>(endpoint));
  return std::max<std::int64_t>(prompt - cached, 0);
}

InFlightLoad::Share InFlightLoad::take(Slot slot, std::int64_t prompt, std::int64_t output) {
  if (slot == kNoSlot) return {};
  if (slot >= loads_.size()) loads_.resize(slot + 1);
  Load& load = loads_[slot].own;
  load.requests += 1;
  load.tokens += prompt + output;
  return {slot, loads_[slot].generation, prompt, output};
}

void InFlightLoad::sent(const Sent& sent) {
  std::int64_t output = 0;
  if (parameters_.add_output) {
    output = static_cast<std::int64_t>(static_cast<double>(sent.request.prompt_tokens()) * parameters_.output_ratio);
    if (parameters_.max_output > 0) output = std::min(output, parameters_.max_output);
    if (sent.request.facts.max_tokens) output = std::min(output, std::max<std::int64_t>(*sent.request.facts.max_tokens, 0));
  }
  Flight& flight = flights_[sent.flight];
  const bool apart = sent.prefill != kNoSlot;
  flight.decode = take(sent.decode, apart ? 0 : uncached(sent, sent.decode_index), output);
  if (apart) flight.prefill = take(sent.prefill, uncached(sent, sent.prefill_index), 0);
}

void InFlightLoad::release_prompt(Share& share) {
  if (share.slot == kNoSlot || loads_[share.slot].generation != share.generation) return;
  loads_[share.slot].own.tokens -= share.prompt;
  share.prompt = 0;
}

void InFlightLoad::release(Share& share) {
  if (share.slot == kNoSlot || loads_[share.slot].generation != share.generation) return;
  loads_[share.slot].own.tokens -= share.prompt + share.output;
  loads_[share.slot].own.requests -= 1;
  share = {};
}

void InFlightLoad::first_chunk(FlightNumber flight, TimePoint) {
  const auto found = flights_.find(flight);
  if (found == flights_.end()) return;
  release_prompt(found->second.decode);
  release(found->second.prefill);
}

void InFlightLoad::done(FlightNumber flight, const ResponseFacts&, TimePoint) {
  const auto found = flights_.find(flight);
  if (found == flights_.end()) return;
  release(found->second.decode);
  release(found->second.prefill);
  flights_.erase(found);
}

void InFlightLoad::endpoint_removed(Slot slot, std::string_view) {
  if (slot < loads_.size()) loads_[slot] = {{}, loads_[slot].generation + 1};
  if (slot < others_.size()) others_[slot] = {};
}

void InFlightLoad::add_others(Slot slot, Load load) {
  if (slot >= others_.size()) others_.resize(slot + 1);
  others_[slot].requests += load.requests;
  others_[slot].tokens += load.tokens;
}

}  // namespace braid::router
