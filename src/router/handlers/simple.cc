// SPDX-License-Identifier: Apache-2.0
// Handlers that run one profile.
#include "router/catalog.h"
#include "router/handlers/disaggregate.h"
#include "router/handlers/targets.h"

namespace braid::router {
namespace {

void run_one(const Profile& profile, Context& context, Decision& decision) {
  decision.profiles.push_back(run_profile(profile, context));
  decision.decode = targets_of(context, decision.profiles.back().picked);
  if (decision.decode.empty()) decision.refusal = nothing_picked(context, profile.name);
}

class SingleProfileHandler : public Plugin, public ProfileHandler {
 public:
  using Parameters = NoParameters;
  explicit SingleProfileHandler(Parameters) {}

  Status use(std::span<const Profile> profiles) override {
    if (profiles.size() != 1) {
      return parameters.error("plugin '" + name + "' runs one profile, and there are " + std::to_string(profiles.size()) +
                              "; use header-profile-handler or disagg-profile-handler");
    }
    profile_ = &profiles.front();
    return {};
  }
  void run(Context& context, Decision& decision) override { run_one(*profile_, context, decision); }

 private:
  const Profile* profile_ = nullptr;
};

class HeaderProfileHandler final : public Plugin, public ProfileHandler {
 public:
  struct Parameters {
    std::string header = "EPP-Profile";
    std::string otherwise = "decode";

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("headerName", self.header, {.help = "Request header that names the profile"});
      v.field("defaultProfile", self.otherwise, {.help = "Profile of requests without the header"});
    }
  };
  explicit HeaderProfileHandler(Parameters parameters) : header_(std::move(parameters.header)), otherwise_(std::move(parameters.otherwise)) {
    for (char& c : header_) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }

  Status use(std::span<const Profile> profiles) override {
    profiles_ = profiles;
    const auto found = profile_named(profiles, otherwise_, *this, "defaultProfile");
    return found.ok() ? Status() : found.error();
  }

  void run(Context& context, Decision& decision) override {
    const std::string_view asked = context.request.header(header_);
    const std::string_view name = asked.empty() ? std::string_view(otherwise_) : asked;
    for (const Profile& profile : profiles_) {
      if (profile.name == name) return run_one(profile, context, decision);
    }
    decision.refusal = Refusal{400, "", "header " + header_ + " names a profile '" + std::string(name) + "', which does not exist", {}};
  }

 private:
  std::string header_;
  std::string otherwise_;
  std::span<const Profile> profiles_;
};

// For pools that show one port for all ranks: the sidecar on it goes on to the rank's own port.
class DataParallelHandler final : public Plugin, public ProfileHandler {
 public:
  struct Parameters {
    int primary_port = 8000;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("primaryPort", self.primary_port, {.help = "Port that requests are sent to", .min = 1, .max = 65535});
    }
  };
  explicit DataParallelHandler(Parameters parameters) : port_(parameters.primary_port) {}

  Status use(std::span<const Profile> profiles) override {
    if (profiles.size() != 1) return parameters.error("plugin '" + name + "' runs exactly one profile");
    profile_ = &profiles.front();
    return {};
  }

  void run(Context& context, Decision& decision) override {
    run_one(*profile_, context, decision);
    if (decision.refusal) return;
    decision.request_headers.emplace_back("x-data-parallel-host-port", decision.primary().id.host_port());
    for (Target& target : decision.decode) target.id.port = port_;
  }

 private:
  int port_;
  const Profile* profile_ = nullptr;
};

constexpr PluginType kTypes[] = {
    plugin_type<SingleProfileHandler>("single-profile-handler", "Runs the only profile."),
    plugin_type<HeaderProfileHandler>("header-profile-handler", "Runs the profile that a request header names; 400 if there is none of that name."),
    plugin_type<DataParallelHandler>("data-parallel-profile-handler", "Deprecated: sends to the primary port and names the rank's port in x-data-parallel-host-port. Give every rank an endpoint of its own instead."),
    plugin_type<DisaggregatingHandler>("disagg-profile-handler", "Chooses a decode endpoint, asks the decider, and then chooses a prefill endpoint, or both at once if the prefill profile has a pair scorer."),
    plugin_type<OldDisaggregatingHandler>("pd-profile-handler", "Deprecated name of disagg-profile-handler with a threshold of its own."),
    plugin_type<AlwaysDecider>("always-disagg-pd-decider", "Prefill and decode always run apart."),
    plugin_type<PrefixDecider>("prefix-based-pd-decider", "They run apart if the prompt has at least promptTokens tokens and at least nonCachedTokens that are not cached on the chosen decode endpoint."),
    plugin_type<TransferTimeScorer>("prefill-decode-pair-scorer", "In a prefill profile: scores pairs by the time that prefill there and moving the cache to the decode endpoint would take, and both are chosen together."),
};

}  // namespace

std::span<const PluginType> profile_handlers() { return kTypes; }

}  // namespace braid::router
