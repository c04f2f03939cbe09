// SPDX-License-Identifier: Apache-2.0
// Requests of one session go to one endpoint.
//
// encoded_endpoint_header: the answer carries a header with the endpoint's name in base64, which the
// client sends back. session_id: the request names its session, and the router remembers where it
// went until it has been idle for a while.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "router/catalog.h"

namespace braid::router {

void lower(std::string& text);
std::string base64(std::string_view bytes);

class SessionIds final : public Plugin {
 public:
  struct Parameters {
    std::string header, cookie;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("headerName", self.header, {.help = "Header that is the id"});
      v.field("cookieName", self.cookie, {.help = "Cookie that is the id, in place of a header"});
    }
  };
  explicit SessionIds(Parameters parameters) : parameters_(std::move(parameters)) { lower(parameters_.header); }
  Status connect(Plugins& plugins) override;
  std::string_view id_of(const RoutedRequest& request) const;

 private:
  Parameters parameters_;
};

class AgentIdentity final : public Plugin {
 public:
  using Parameters = NoParameters;
  explicit AgentIdentity(Parameters) {}
  static std::string_view id_of(const RoutedRequest& request);
};

struct SessionParameters {
  struct Encoded {
    std::string header = "x-session-token";

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("header", self.header, {.help = "Header that carries the endpoint both ways"});
    }
  };
  struct Source {
    std::string header, attribute, producer;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("header", self.header, {.help = "Header that is the id"});
      v.field("attribute", self.attribute, {.help = "Attribute of a session-id-producer"});
      v.field("producer", self.producer, {.help = "That session-id-producer"});
    }
  };
  struct ById {
    std::vector<Source> sources;
    double ttl = 3600, sweep = 300;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.list("sources", self.sources, "Where the id comes from; the first that has one");
      v.field("evictionTtlSeconds", self.ttl, {.help = "A session idle for so long is forgotten", .unit = "s", .min = 1});
      v.field("evictionSweepSeconds", self.sweep, {.help = "How often that is looked at", .unit = "s", .min = 1});
    }
  };
  std::string strategy = "encoded_endpoint_header";
  Encoded encoded;
  ById by_id;
  std::string profile;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("strategy", self.strategy, {.help = "encoded_endpoint_header or session_id", .choices = {"encoded_endpoint_header", "session_id"}});
    v.object("encodedEndpointHeaderConfig", self.encoded, "Of the first strategy");
    v.object("sessionIdConfig", self.by_id, "Of the second");
    v.field("profileName", self.profile, {.help = "Profile whose pick a session is pinned to: prefill, or else that which decodes"});
  }
};

class SessionPins : public Plugin {
 public:
  using Parameters = SessionParameters;
  explicit SessionPins(Parameters parameters);
  Status connect(Plugins& plugins) override;
  void decided(Context& context, Decision& decision) override;
  void endpoint_removed(Slot slot, std::string_view name) override;

 protected:
  // Where the request's session is pinned, or -1.
  EndpointIndex pinned(Context& context);

 private:
  struct Pin {
    std::string endpoint;
    TimePoint used{};
  };
  std::string session_of(const RoutedRequest& request) const;
  void sweep(TimePoint now);

  Parameters parameters_;
  bool encoded_;
  std::vector<const SessionIds*> producers_;  // by source; null: a header
  std::unordered_map<std::string, Pin> pins_;
  TimePoint swept_{};
};

class SessionScorer final : public SessionPins, public Scorer {
 public:
  using SessionPins::SessionPins;
  void score(Context& context, std::span<const EndpointIndex> candidates, std::span<double> scores) override;
};

class SessionFilter final : public SessionPins, public Filter {
 public:
  using SessionPins::SessionPins;
  void filter(Context& context, std::vector<EndpointIndex>& candidates, std::string& note) override;
};

}  // namespace braid::router
