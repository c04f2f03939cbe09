// SPDX-License-Identifier: Apache-2.0
// /scale_elastic_ep, /is_scaling_elastic_ep and what /ready tells of the ranks.
#include <limits>
#include <nlohmann/json.hpp>

#include "serve/context.h"

namespace braid::serve {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kSize = "new_data_parallel_size";
constexpr const char* kDrain = "drain_timeout";
constexpr std::int64_t kDefaultDrainSeconds = 120;
constexpr std::int64_t kLongestDrainSeconds = 86400;

struct ScaleRequest {
  int ranks = 0;
  Duration drain{};
};

Result<std::int64_t> read_number(const Json& body, const char* name, std::int64_t least, std::int64_t most) {
  const auto found = body.find(name);
  if (found != body.end() && found->is_number_integer()) {
    const auto value = found->get<std::int64_t>();
    if (value >= least && value <= most) return value;
  }
  const std::string given = found == body.end() ? "nothing" : found->dump();
  return invalid_argument(std::string(name) + ": expected a whole number from " + std::to_string(least) + " to " + std::to_string(most) +
                          ", found " + given, name);
}

Result<ScaleRequest> read(std::string_view text) {
  const Json body = Json::parse(text, nullptr, false);
  if (!body.is_object()) return invalid_argument(std::string("expected a JSON object like {\"") + kSize + "\": 4}");
  ScaleRequest request;
  ASSIGN_OR_RETURN(const auto ranks, read_number(body, kSize, 1, std::numeric_limits<int>::max()));
  request.ranks = static_cast<int>(ranks);
  std::int64_t seconds = kDefaultDrainSeconds;
  if (body.contains(kDrain)) {
    ASSIGN_OR_RETURN(seconds, read_number(body, kDrain, 0, kLongestDrainSeconds));
  }
  request.drain = std::chrono::seconds(seconds);
  return request;
}

}  // namespace

void handle_scale(Context& c, net::Request&& http, Writer writer) {
  const auto request = read(http.body);
  if (!request.ok()) return send_error(writer, request.error());
  if (!c.parts.deployment) {
    return send_error(writer, invalid_argument("this server computes in one process, which no rank can join; start it with --enable-elastic-ep "
                                               "or --data-parallel-size 2 or more", kSize));
  }
  const std::uint64_t ticket = c.waiting->keep(std::move(writer));
  c.parts.deployment->scale(request->ranks, request->drain, [waiting = c.waiting, ticket, ranks = request->ranks](const Status& status) {
    waiting->take(ticket, [&](const Writer& w) {
      if (!status.ok()) return send_error(w, status.error());
      send_json(w, 200, Json{{"message", "Scaled to " + std::to_string(ranks) + " data parallel engines"}}.dump());
    });
  });
}

void handle_is_scaling(Context& c, net::Request&&, Writer writer) {
  const bool scaling = c.parts.deployment && c.parts.deployment->state().scaling;
  send_json(writer, 200, Json{{"is_scaling_elastic_ep", scaling}}.dump());
}

std::string ranks_json(const DeploymentState& state) {
  return Json{{"ranks", state.ranks}, {"missing", state.missing}, {"scaling", state.scaling}}.dump();
}

}  // namespace braid::serve
