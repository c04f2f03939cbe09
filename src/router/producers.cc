// SPDX-License-Identifier: Apache-2.0
#include "router/producers.h"

#include <algorithm>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "router/in_flight.h"
#include "router/index/approximate.h"
#include "router/index/precise.h"
#include "router/prefix_of.h"

namespace braid::router {
namespace {

// Names an endpoint that can hand over the part of the prompt which the chosen one lacks.
class CacheSource final : public Plugin {
 public:
  struct Parameters {
    std::int64_t least = 1;
    std::string prefill_profile = "prefill", prefixes;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("minCachedTokenDelta", self.least, {.help = "Tokens that the source must have beyond the chosen endpoint", .min = 1});
      v.field("prefillProfileName", self.prefill_profile, {.help = "Profile that chooses where to prefill"});
      v.field("prefixMatchInfoProducerName", self.prefixes, {.help = "Which producer tells what is cached"});
    }
  };
  explicit CacheSource(Parameters parameters) : parameters_(std::move(parameters)) {}

  Status connect(Plugins& plugins) override { return connect_prefixes(plugins, *this, parameters_.prefixes, prefixes_); }

  void decided(Context& context, Decision& decision) override {
    const PrefixMatch& match = prefixes_->match(context);
    const EndpointIndex target = decision.prefill.empty() ? decision.primary().index : decision.prefill.front().index;
    const auto tokens = [&](EndpointIndex i) { return match.cached_tokens(static_cast<std::size_t>(i)); };
    std::int64_t most = 0;
    for (const EndpointIndex i : context.candidates) most = std::max(most, tokens(i));
    EndpointIndex source = -1;
    double best = -1;
    for (const EndpointIndex i : context.candidates) {
      if (i == target || tokens(i) < most - match.block_size || tokens(i) - tokens(target) < parameters_.least) continue;
      const double weight = 1 / (1 + context.at(i).state.waiting.value_or(0));
      const std::string key = context.request.id + '\n' + context.at(i).id.name;
      const double share = static_cast<double>(XXH64(key.data(), key.size(), 0) >> 11) * 0x1p-53 * weight;
      if (share > best) best = share, source = i;
    }
    if (source >= 0) decision.request_headers.emplace_back("x-kv-cache-source-host-port", context.at(source).id.host_port());
  }

 private:
  Parameters parameters_;
  PrefixProducer* prefixes_ = nullptr;
};

constexpr PluginType kTypes[] = {
    plugin_type<ApproximatePrefix>("approx-prefix-cache-producer", "Guesses what endpoints have cached from what they were sent."),
    plugin_type<PrecisePrefix>("precise-prefix-cache-producer", "Knows what endpoints have cached from the KV events they publish; needs prompts as token ids."),
    plugin_type<InFlightLoad>("inflight-load-producer", "Counts requests and tokens in flight by endpoint."),
    plugin_type<TokenProducer>("token-producer", "Turns prompts into token ids by asking a server, or counts four bytes a token."),
    plugin_type<CacheSource>("p2p-source-producer", "Names in x-kv-cache-source-host-port an endpoint that has more of the prompt cached: within a block of the most, by 1 / (1 + waiting), the same for the same request id."),
};

}  // namespace

std::span<const PluginType> producers() { return kTypes; }

}  // namespace braid::router
