// SPDX-License-Identifier: Apache-2.0
#include "router/scorers/session.h"

#include <algorithm>
#include <cctype>

namespace braid::router {

void lower(std::string& text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
}

std::string base64(std::string_view bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j) group = group << 8 | (i + j < bytes.size() ? static_cast<std::uint8_t>(bytes[i + j]) : 0);
    for (std::size_t j = 0; j < 4; ++j) out += i + j <= bytes.size() ? kDigits[group >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

Status SessionIds::connect(Plugins&) {
  const bool one = parameters_.header.empty() != parameters_.cookie.empty();
  return one ? Status() : parameters.error("give either headerName or cookieName");
}

std::string_view SessionIds::id_of(const RoutedRequest& request) const {
  if (!parameters_.header.empty()) return request.header(parameters_.header);
  std::string_view rest = request.header("cookie");
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(';'), rest.size());
    std::string_view each = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    each.remove_prefix(std::min(each.find_first_not_of(' '), each.size()));
    const std::size_t equals = each.find('=');
    if (equals != std::string_view::npos && each.substr(0, equals) == parameters_.cookie) return each.substr(equals + 1);
  }
  return {};
}

std::string_view AgentIdentity::id_of(const RoutedRequest& request) {
  for (const std::string_view name : {"x-claude-code-session-id", "x-session-affinity", "session-id", "session_id"}) {
    const std::string_view value = request.header(name);
    if (!value.empty()) return value;
  }
  return {};
}

SessionPins::SessionPins(Parameters parameters)
    : parameters_(std::move(parameters)), encoded_(parameters_.strategy == "encoded_endpoint_header") {
  lower(parameters_.encoded.header);
  for (Parameters::Source& source : parameters_.by_id.sources) lower(source.header);
}

Status SessionPins::connect(Plugins& plugins) {
  if (encoded_) return {};
  if (parameters_.by_id.sources.empty()) return parameters.error("strategy session_id needs sources", "sessionIdConfig");
  for (const Parameters::Source& source : parameters_.by_id.sources) {
    const SessionIds*& producer = producers_.emplace_back(nullptr);
    if (!source.header.empty()) continue;
    if (source.producer.empty()) return parameters.error("a source needs a header, or an attribute and its producer", "sessionIdConfig");
    ASSIGN_OR_RETURN(producer, plugins.require<SessionIds>(*this, "sessionIdConfig", source.producer));
  }
  return {};
}

std::string SessionPins::session_of(const RoutedRequest& request) const {
  for (std::size_t i = 0; i < producers_.size(); ++i) {
    const std::string_view id = producers_[i] == nullptr ? request.header(parameters_.by_id.sources[i].header) : producers_[i]->id_of(request);
    if (!id.empty()) return std::string(id);
  }
  return {};
}

EndpointIndex SessionPins::pinned(Context& context) {
  std::string_view wanted;
  std::string name;
  if (encoded_) {
    wanted = context.request.header(parameters_.encoded.header);
  } else {
    const auto found = pins_.find(session_of(context.request));
    if (found != pins_.end()) name = found->second.endpoint;
  }
  if (wanted.empty() && name.empty()) return -1;
  for (const EndpointIndex i : context.candidates) {
    const std::string& each = context.at(i).id.name;
    if (encoded_ ? base64(each) == wanted : each == name) return i;
  }
  return -1;
}

void SessionPins::decided(Context& context, Decision& decision) {
  const bool prefill = parameters_.profile == "prefill" && !decision.prefill.empty();
  const std::string& name = (prefill ? decision.prefill : decision.decode).front().id.name;
  if (encoded_) {
    decision.response_headers.emplace_back(parameters_.encoded.header, base64(name));
    return;
  }
  sweep(context.now);
  std::string session = session_of(context.request);
  if (!session.empty()) pins_[std::move(session)] = {name, context.now};
}

void SessionPins::sweep(TimePoint now) {
  if (to_seconds(now - swept_) < parameters_.by_id.sweep) return;
  swept_ = now;
  std::erase_if(pins_, [&](const auto& each) { return to_seconds(now - each.second.used) > parameters_.by_id.ttl; });
}

void SessionPins::endpoint_removed(Slot, std::string_view name) {
  std::erase_if(pins_, [&](const auto& each) { return each.second.endpoint == name; });
}

void SessionScorer::score(Context& context, std::span<const EndpointIndex> candidates, std::span<double> scores) {
  const EndpointIndex pin = pinned(context);
  for (std::size_t i = 0; i < candidates.size(); ++i) scores[i] = candidates[i] == pin ? 1 : 0;
}

void SessionFilter::filter(Context& context, std::vector<EndpointIndex>& candidates, std::string&) {
  const EndpointIndex pin = pinned(context);
  if (std::find(candidates.begin(), candidates.end(), pin) != candidates.end()) candidates = {pin};
}

}  // namespace braid::router
