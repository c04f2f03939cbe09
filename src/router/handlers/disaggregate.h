// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: prefill and decode on different endpoints.
//
// Decode first (or prefill first): the decode profile picks, the decider is asked, the prefill profile
// picks. With a pair scorer in the prefill profile neither picks alone: of all pairs left by the
// filters, the one of the largest
//     decode total + prefill total + weight * pair score
// is taken, random among equals.
#pragma once

#include <memory>
#include <string>

#include "router/catalog.h"
#include "router/in_flight.h"
#include "router/plugin.h"

namespace braid::router {

class AlwaysDecider final : public Plugin, public Decider {
 public:
  using Parameters = NoParameters;
  explicit AlwaysDecider(Parameters) {}
  bool disaggregate(Context& context, std::string& reason) override;
};

class PrefixDecider final : public Plugin, public Decider {
 public:
  struct Parameters {
    std::int64_t non_cached_tokens = 0;
    std::int64_t prompt_tokens = 0;
    std::string producer;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("nonCachedTokens", self.non_cached_tokens, {.help = "Tokens not cached from which on it is worth it; 0: never", .min = 0});
      v.field("promptTokens", self.prompt_tokens, {.help = "Least tokens of a prompt", .min = 0});
      v.field("prefixMatchInfoProducerName", self.producer, {.help = "Which producer tells what is cached"});
    }
  };
  explicit PrefixDecider(Parameters parameters) : parameters_(std::move(parameters)) {}
  Status connect(Plugins& plugins) override;
  bool disaggregate(Context& context, std::string& reason) override;

 private:
  Parameters parameters_;
  PrefixProducer* prefixes_ = nullptr;
};

struct DisaggregationParameters {
  struct Profiles {
    std::string decode = "decode", prefill = "prefill", encode;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("decode", self.decode, {.help = "Profile that picks where to decode"});
      v.field("prefill", self.prefill, {.help = "Profile that picks where to prefill"});
      v.field("encode", self.encode, {.help = "Not available: media are encoded where they are prefilled"});
    }
  };
  struct Deciders {
    std::string prefill, encode;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("prefill", self.prefill, {.help = "Plugin that decides whether prefill runs apart"});
      v.field("encode", self.encode, {.help = "Not available"});
    }
  };
  Profiles profiles;
  Deciders deciders;
  std::string decider;
  std::string stage_order = "decode-first";
  std::string on_missing = "decode";

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.object("profiles", self.profiles, "Names of profiles");
    v.object("deciders", self.deciders, "Names of deciders");
    v.field("deciderPluginName", self.decider, {.help = "Old form of deciders.prefill"});
    v.field("stageOrder", self.stage_order, {.help = "decode-first or prefill-first", .choices = {"decode-first", "prefill-first"}});
    v.field("onMissingPrefill", self.on_missing, {.help = "When prefill shall run apart and no endpoint can: decode (prefill there too) or fail", .choices = {"decode", "fail"}});
  }
};

class DisaggregatingHandler : public Plugin, public ProfileHandler {
 public:
  using Parameters = DisaggregationParameters;
  explicit DisaggregatingHandler(Parameters parameters) : parameters_(std::move(parameters)) {}

  Status connect(Plugins& plugins) override;
  Status use(std::span<const Profile> profiles) override;
  void run(Context& context, Decision& decision) override;

 protected:
  Parameters parameters_;
  Decider* decider_ = nullptr;
  std::string decider_name_;

 private:
  bool approved(Context& context, Decision& decision);
  void take_prefill(Context& context, Decision& decision, const ProfileTrace& trace);
  void run_in_order(Context& context, Decision& decision);
  void run_pairs(Context& context, Decision& decision);

  const Profile* decode_ = nullptr;
  const Profile* prefill_ = nullptr;
};

class OldDisaggregatingHandler final : public DisaggregatingHandler {
 public:
  struct Parameters {
    std::int64_t threshold = 0;
    std::string decode = "decode", prefill = "prefill", decider;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("threshold", self.threshold, {.help = "nonCachedTokens of a decider of its own", .min = 0});
      v.field("decodeProfile", self.decode, {.help = "Profile that picks where to decode"});
      v.field("prefillProfile", self.prefill, {.help = "Profile that picks where to prefill"});
      v.field("deciderPluginName", self.decider, {.help = "A decider, in place of the threshold"});
    }
  };
  explicit OldDisaggregatingHandler(Parameters parameters);
  Status connect(Plugins& plugins) override;

 private:
  std::unique_ptr<PrefixDecider> own_;
};

class TransferTimeScorer final : public Plugin, public PairScorer {
 public:
  struct Parameters {
    double prefill_rate = 15928;
    double transfer_rate = 209000;
    double near_rate = 1000000;
    std::string prefixes;
    std::string in_flight;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("prefillTokensPerSecond", self.prefill_rate, {.help = "Speed of prefill", .min = 1});
      v.field("transferTokensPerSecond", self.transfer_rate, {.help = "Speed at which cache moves between hosts", .min = 1});
      v.field("sameHostTokensPerSecond", self.near_rate, {.help = "The same within a host", .min = 1});
      v.field("prefixMatchInfoProducerName", self.prefixes, {.help = "Which producer tells what is cached"});
      v.field("inFlightLoadProducerName", self.in_flight, {.help = "Which inflight-load-producer counts"});
    }
  };
  explicit TransferTimeScorer(Parameters parameters) : parameters_(std::move(parameters)) {}
  Status connect(Plugins& plugins) override;
  void score(Context& context,
             std::span<const EndpointIndex> prefills,
             std::span<const EndpointIndex> decodes,
             std::span<double> scores) override;

 private:
  Parameters parameters_;
  PrefixProducer* prefixes_ = nullptr;
  InFlightLoad* load_ = nullptr;
};

}  // namespace braid::router
