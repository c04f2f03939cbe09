// SPDX-License-Identifier: Apache-2.0
// What a plugin of the endpoint picker may be: filter, scorer, picker, producer, decider, handler, or
// several at once. router/catalog.h lists those that exist.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "router/config_reader.h"
#include "router/decision.h"
#include "router/endpoint.h"
#include "router/request.h"
#include "router/request_data.h"

namespace braid::metrics {
class Histogram;
}

namespace braid::router {

// A small number that stands for an endpoint's name while it is in the pool; used again later.
using Slot = std::uint32_t;
inline constexpr Slot kNoSlot = ~Slot{0};
// A request in flight, as Router::sent numbers it.
using FlightNumber = std::uint64_t;

// Reproducible random numbers, of one seed.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next();
  double uniform();  // in (0, 1)
  std::size_t below(std::size_t count) { return static_cast<std::size_t>(next() % count); }

 private:
  std::uint64_t state_;
};

// One request on its way through the plugins. Borrowed for the length of a call.
struct Context {
  const RoutedRequest& request;
  std::span<const Endpoint> endpoints;
  std::span<const Slot> slots;                 // of `endpoints`
  std::span<const EndpointIndex> candidates;   // those that the request may go to
  RequestData& data;
  Random& random;
  TimePoint now{};
  EndpointIndex decode_pick = -1;  // once a decode endpoint has been chosen
  bool emptied_by_load = false;    // a filter by load has left nothing
  const Clock* clock = nullptr;    // of the time that plugins take; may be null

  const Endpoint& at(EndpointIndex index) const { return endpoints[static_cast<std::size_t>(index)]; }
  Slot slot(EndpointIndex index) const { return slots[static_cast<std::size_t>(index)]; }
};

// A request that has been sent: valid until done().
struct Sent {
  FlightNumber flight = 0;
  const RoutedRequest& request;
  RequestData& data;
  Slot decode = kNoSlot;
  Slot prefill = kNoSlot;
  EndpointIndex decode_index = -1;
  EndpointIndex prefill_index = -1;
  std::string_view decode_name;
  TimePoint now{};
};

class Plugins;

class Plugin {
 public:
  virtual ~Plugin() = default;
  Plugin() = default;
  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;

  // Finds the plugins that this one uses, after all have been made.
  virtual Status connect(Plugins& plugins) { return {}; }

  // The life of a request, for plugins that keep state.
  virtual void sent(const Sent& sent) {}
  virtual void first_chunk(FlightNumber flight, TimePoint now) {}
  virtual void done(FlightNumber flight, const ResponseFacts& facts, TimePoint now) {}
  // The last word on a decision that is not refused: headers to add.
  virtual void decided(Context& context, Decision& decision) {}
  virtual void endpoint_removed(Slot slot, std::string_view name) {}
  virtual void endpoint_restarted(Slot slot, std::string_view name) {}

  std::string name;
  std::string type;
  ConfigValue parameters;
};

class Filter {
 public:
  virtual ~Filter() = default;
  // Removes from `candidates`, keeping their order. `note` may say why all were kept.
  virtual void filter(Context& context, std::vector<EndpointIndex>& candidates, std::string& note) = 0;
  // Whether it removes endpoints for being busy: when nothing is left then, the answer is 429, not 503.
  virtual bool by_load() const { return false; }
};

class Scorer {
 public:
  virtual ~Scorer() = default;
  // One score in [0, 1] for each candidate, larger is better; what is outside is clamped.
  virtual void score(Context& context, std::span<const EndpointIndex> candidates, std::span<double> scores) = 0;
};

class Picker {
 public:
  virtual ~Picker() = default;
  // The chosen ones, the primary first. REQUIRES: `candidates` is not empty.
  virtual std::vector<EndpointIndex> pick(Context& context,
                                          std::span<const EndpointIndex> candidates,
                                          std::span<const double> totals) = 0;
};

// Tells how much of a prompt each endpoint has cached.
class PrefixProducer {
 public:
  virtual ~PrefixProducer() = default;
  // Computed on the first call for a request.
  const PrefixMatch& match(Context& context);
  std::size_t index = 0;  // in RequestData::prefixes

 protected:
  virtual void look_up(Context& context, PrefixMatch& match) = 0;
};

// Whether a request's prefill shall run apart from its decode.
class Decider {
 public:
  virtual ~Decider() = default;
  // context.decode_pick is the decode endpoint chosen. `reason` is one sentence either way.
  virtual bool disaggregate(Context& context, std::string& reason) = 0;
};

// Scores pairs of a prefill and a decode endpoint, which are then chosen together.
class PairScorer {
 public:
  virtual ~PairScorer() = default;
  // scores[p * decodes.size() + d] in [0, 1].
  virtual void score(Context& context,
                     std::span<const EndpointIndex> prefills,
                     std::span<const EndpointIndex> decodes,
                     std::span<double> scores) = 0;
};

// Filters, scorers and a picker under a name.
struct Profile {
  struct Weighted {
    Scorer* scorer = nullptr;
    double weight = 1;
    std::string name;
    metrics::Histogram* spent = nullptr;
  };
  struct Named {
    Filter* filter = nullptr;
    std::string name;
    metrics::Histogram* spent = nullptr;
  };
  std::string name;
  std::vector<Named> filters;
  std::vector<Weighted> scorers;
  PairScorer* pairs = nullptr;  // only in a prefill profile
  double pair_weight = 1;
  std::string pair_name;
  Picker* picker = nullptr;
  std::string picker_name;
  metrics::Histogram* picker_spent = nullptr;
};

// Filters, then scores, then (unless `pick` is false) picks.
ProfileTrace run_profile(const Profile& profile, Context& context, bool pick = true);

// Which profiles run, and what becomes of their picks.
class ProfileHandler {
 public:
  virtual ~ProfileHandler() = default;
  // Called once with all profiles of the configuration.
  virtual Status use(std::span<const Profile> profiles) = 0;
  // Fills in targets, traces and headers, or the refusal.
  virtual void run(Context& context, Decision& decision) = 0;
};

// All plugins of one configuration.
class Plugins {
 public:
  Plugin* find(std::string_view name) const;
  void add(std::unique_ptr<Plugin> plugin) { all_.push_back(std::move(plugin)); }
  std::span<const std::unique_ptr<Plugin>> all() const { return all_; }

  // The plugin called `name`, as a T; the error names `field` of `user`.
  template <class T>
  Result<T*> require(const Plugin& user, std::string_view field, const std::string& name) {
    if (T* found = dynamic_cast<T*>(find(name))) return found;
    return missing(user, field, name);
  }

  // The only T there is. `make` makes it, if there is none; several are an error that asks for `field`.
  template <class T, class Make>
  Result<T*> only(const Plugin& user, std::string_view field, Make&& make) {
    T* found = nullptr;
    for (const auto& plugin : all_) {
      T* each = dynamic_cast<T*>(plugin.get());
      if (each != nullptr && found != nullptr) return ambiguous(user, field);
      if (each != nullptr) found = each;
    }
    if (found != nullptr) return found;
    std::unique_ptr<Plugin> made = make();
    found = dynamic_cast<T*>(made.get());
    RETURN_IF_ERROR(made->connect(*this));
    created_.push_back(made->name);
    add(std::move(made));
    return found;
  }

  // What was made because others need it and nobody had configured it.
  std::span<const std::string> created() const { return created_; }

 private:
  Error missing(const Plugin& user, std::string_view field, const std::string& name) const;
  Error ambiguous(const Plugin& user, std::string_view field) const;

  std::vector<std::unique_ptr<Plugin>> all_;
  std::vector<std::string> created_;
};

}  // namespace braid::router
