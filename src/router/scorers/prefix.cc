// SPDX-License-Identifier: Apache-2.0
// Scores by what is cached where, and by who has gone longest without a cold prompt.
#include <algorithm>
#include <list>
#include <unordered_map>

#include "router/catalog.h"
#include "router/index/approximate.h"
#include "router/prefix_of.h"

namespace braid::router {

Status connect_prefixes(Plugins& plugins, const Plugin& user, const std::string& name, PrefixProducer*& prefixes) {
  if (!name.empty()) {
    ASSIGN_OR_RETURN(prefixes, plugins.require<PrefixProducer>(user, "prefixMatchInfoProducerName", name));
    return {};
  }
  ASSIGN_OR_RETURN(prefixes, plugins.only<PrefixProducer>(user, "prefixMatchInfoProducerName", [] {
    auto made = std::make_unique<ApproximatePrefix>(ApproximatePrefix::Parameters{});
    made->name = made->type = "approx-prefix-cache-producer";
    return made;
  }));
  return {};
}

namespace {

class PrefixScorer final : public Plugin, public Scorer {
 public:
  struct Parameters {
    std::string producer;
    double length_weight = 0;
    std::int64_t length_scale = 8192;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("prefixMatchInfoProducerName", self.producer, {.help = "Which producer tells what is cached; needed if there are several"});
      v.field("matchLengthWeight", self.length_weight, {.help = "Share of the score that the length of the match gives", .min = 0, .max = 1});
      v.field("matchLengthScaleTokens", self.length_scale, {.help = "Length of match that gives all of that share", .min = 1});
    }
  };
  explicit PrefixScorer(Parameters parameters) : parameters_(std::move(parameters)) {}

  Status connect(Plugins& plugins) override { return connect_prefixes(plugins, *this, parameters_.producer, prefixes_); }

  void score(Context& context, std::span<const EndpointIndex> candidates, std::span<double> scores) override {
    const PrefixMatch& match = prefixes_->match(context);
    const double w = parameters_.length_weight;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      const auto at = static_cast<std::size_t>(candidates[i]);
      const double tokens = match.known ? match.weighted[at] * match.block_size : 0;
      const double length = std::min(1.0, tokens / static_cast<double>(parameters_.length_scale));
      scores[i] = w * length * length + (1 - w) * match.ratio(at);
    }
  }

 private:
  Parameters parameters_;
  PrefixProducer* prefixes_ = nullptr;
};

// Endpoints in the order in which they last got a prompt that nobody had cached.
class NoHitScorer final : public Plugin, public Scorer {
 public:
  struct Parameters {
    int size = 1024;
    std::string producer;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("lruSize", self.size, {.help = "Endpoints remembered", .min = 1});
      v.field("prefixMatchInfoProducerName", self.producer, {.help = "Which producer tells what is cached"});
    }
  };
  explicit NoHitScorer(Parameters parameters) : parameters_(std::move(parameters)) {}

  Status connect(Plugins& plugins) override { return connect_prefixes(plugins, *this, parameters_.producer, prefixes_); }

  void score(Context& context, std::span<const EndpointIndex> candidates, std::span<double> scores) override {
    if (prefixes_->match(context).any_hit()) {
      std::fill(scores.begin(), scores.end(), 0.5);
      return;
    }
    if (candidates.size() == 1) {
      scores[0] = 1;
      return;
    }
    const std::vector<std::size_t> ranks = ranks_of(context, candidates);
    const auto last = static_cast<double>(candidates.size() - 1);
    for (std::size_t i = 0; i < candidates.size(); ++i) scores[i] = std::max(0.0, 1 - static_cast<double>(ranks[i]) / last);
  }

  void sent(const Sent& sent) override {
    if (!sent.data.looked_up[prefixes_->index] || sent.data.prefixes[prefixes_->index].any_hit()) return;
    touch(sent.decode);
    touch(sent.prefill);
  }
  void endpoint_removed(Slot slot, std::string_view) override {
    if (slot < used_.size()) used_[slot] = 0;
  }

 private:
  // Never used ones in the order of the list, then the others, longest unused first.
  std::vector<std::size_t> ranks_of(const Context& context, std::span<const EndpointIndex> candidates) const {
    std::vector<std::size_t> order(candidates.size()), ranks(candidates.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    const auto used = [&](std::size_t i) {
      const Slot slot = context.slot(candidates[i]);
      return slot < used_.size() ? used_[slot] : 0;
    };
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return used(a) < used(b); });
    for (std::size_t rank = 0; rank < order.size(); ++rank) ranks[order[rank]] = rank;
    return ranks;
  }

  void touch(Slot slot) {
    if (slot == kNoSlot) return;
    if (slot >= used_.size()) used_.resize(slot + 1);
    if (used_[slot] == 0 && remembered() >= static_cast<std::size_t>(parameters_.size)) forget_oldest();
    used_[slot] = ++counter_;
  }
  std::size_t remembered() const {
    return static_cast<std::size_t>(std::count_if(used_.begin(), used_.end(), [](std::uint64_t use) { return use != 0; }));
  }
  void forget_oldest() {
    auto oldest = used_.end();
    for (auto use = used_.begin(); use != used_.end(); ++use) {
      if (*use != 0 && (oldest == used_.end() || *use < *oldest)) oldest = use;
    }
    if (oldest != used_.end()) *oldest = 0;
  }

  Parameters parameters_;
  PrefixProducer* prefixes_ = nullptr;
  std::vector<std::uint64_t> used_;  // by slot: when last, 0: never
  std::uint64_t counter_ = 0;
};

constexpr PluginType kTypes[] = {
    plugin_type<PrefixScorer>("prefix-cache-scorer", "w * L + (1 - w) * r: r = cached share of the prompt's blocks, L = min(1, cached tokens / matchLengthScaleTokens) squared, w = matchLengthWeight."),
    plugin_type<NoHitScorer>("no-hit-lru-scorer", "0.5 for all if anybody has cached a part; else 1 - rank / (n - 1), endpoints never used for such prompts first, then those used longest ago."),
};

}  // namespace

std::span<const PluginType> prefix_scorers() { return kTypes; }

}  // namespace braid::router
