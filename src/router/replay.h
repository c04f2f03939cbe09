// SPDX-License-Identifier: Apache-2.0
// Plays a routing scenario, line by line, with a clock that moves only when told: what `braid route
// --explain FILE` and the tests run. tests/scenarios/router/README.md lists the words.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "router/router.h"

namespace braid::router {

class Replay {
 public:
  // Errors: a line that makes no sense, a configuration that is refused, an expectation that does not
  // hold; each with what is so instead.
  Status line(std::string_view text);
  // The scenario ends.
  Status finish() const;

  // The decisions made so far: request name and decision, in order.
  const std::vector<std::pair<std::string, Decision>>& decisions() const { return decisions_; }

 private:
  using Words = std::vector<std::string>;
  struct Request {
    std::shared_ptr<RoutedRequest> request;
    Ticket ticket = 0;
    FlightId flight = 0;
    bool decided = false;
    std::size_t decision = 0;
  };

  Status act(const std::string& verb, const Words& words);
  Status expect(const std::string& verb, const Words& words);
  Status start();
  Status set_endpoint(const Words& words);
  Status submit(const Words& words);
  Status life(const std::string& verb, const Words& words);
  void take(std::vector<Settled> settled);
  void decided(const std::string& name, Request& request, Decision decision);
  Status expect_numbers(const Decision& decision, const Words& words, std::size_t first, const std::string& scorer) const;

  ManualClock clock_;
  Metrics metrics_;
  std::unique_ptr<Router> router_;
  std::vector<Endpoint> endpoints_;
  std::map<std::string, Request> requests_;
  std::vector<std::pair<std::string, Decision>> decisions_;
  std::string config_;
  bool in_config_ = false;
};

// Plays a whole file and tells of each decision, as text or as JSON lines.
Result<std::string> explain_scenario(std::string_view text, const std::string& file, bool json);

}  // namespace braid::router
