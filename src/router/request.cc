// SPDX-License-Identifier: Apache-2.0
#include "router/request.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "protocol/json_text.h"

namespace braid::router {
namespace {

constexpr std::string_view kRoutingHeaders[] = {
    "x-gateway-destination-endpoint",
    "x-gateway-destination-endpoint-scores",
    "x-prefiller-host-port",
    "x-encoder-hosts-ports",
    "x-data-parallel-host-port",
    "x-data-parallel-rank",
    "x-kv-cache-source-host-port",
};

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// The header under its name of today, else under the one it had.
std::string_view either(const HeaderList& headers, std::string_view name, std::string_view old_name) {
  const std::string_view value = trimmed(find_header(headers, name));
  return value.empty() ? trimmed(find_header(headers, old_name)) : value;
}

Status read_milliseconds(std::string_view text, std::string_view name, std::optional<double>& into) {
  if (text.empty()) return {};
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value >= 0)) {
    return invalid_argument("header " + std::string(name) + " is '" + std::string(text) +
                                "'; it must be a number of milliseconds",
                            std::string(name));
  }
  into = value;
  return {};
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    const std::string_view part = trimmed(text.substr(0, comma));
    if (!part.empty()) parts.emplace_back(part);
    text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
  }
  return parts;
}

Status read_headers(RoutedRequest& request) {
  const HeaderList& headers = request.headers;
  request.id = find_header(headers, "x-request-id");
  request.objective = either(headers, "x-llm-d-inference-objective", "x-gateway-inference-objective");
  request.model_override = either(headers, "x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite");
  const std::string_view fairness =
      either(headers, "x-llm-d-inference-fairness-id", "x-gateway-inference-fairness-id");
  if (!fairness.empty()) request.fairness_id = fairness;
  request.subset = split(find_header(headers, "x-gateway-destination-endpoint-subset"));
  for (const std::string& preference : split(find_header(headers, "prefer"))) {
    request.if_available = request.if_available || preference == "if-available";
  }
  RETURN_IF_ERROR(read_milliseconds(
      either(headers, "x-llm-d-slo-ttft-ms", "x-slo-ttft-ms"), "x-llm-d-slo-ttft-ms", request.slo_ttft_ms));
  RETURN_IF_ERROR(read_milliseconds(
      either(headers, "x-llm-d-slo-tpot-ms", "x-slo-tpot-ms"), "x-llm-d-slo-tpot-ms", request.slo_tpot_ms));
  const std::string_view ttl = trimmed(find_header(headers, "x-llm-d-inference-ttl"));
  if (ttl.empty()) return {};
  const auto duration = parse_duration(ttl);
  if (!duration.ok()) return duration.error().within("header x-llm-d-inference-ttl");
  request.ttl = *duration;
  return {};
}

}  // namespace

std::string_view find_header(const HeaderList& headers, std::string_view name) {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return {};
}

std::int64_t RoutedRequest::prompt_tokens() const {
  if (!tokens.empty()) return static_cast<std::int64_t>(tokens.size());
  if (!facts.token_ids.empty()) return static_cast<std::int64_t>(facts.token_ids.size());
  return static_cast<std::int64_t>((facts.prompt_bytes() + 3) / 4);
}

Result<RoutedRequest> read_request(IncomingRequest incoming, TimePoint now) {
  RoutedRequest request;
  request.path = incoming.path.substr(0, incoming.path.find('?'));
  request.headers = std::move(incoming.headers);
  request.body = std::move(incoming.body);
  request.received = now;
  RETURN_IF_ERROR(read_headers(request));
  const Api api = incoming.method == "POST" ? api_of(request.path) : Api::kNone;
  if (api == Api::kNone) return request;
  ASSIGN_OR_RETURN(request.facts, scan_body(request.body, api));
  request.model = request.facts.model;
  return request;
}

std::span<const std::string_view> routing_headers() { return kRoutingHeaders; }

std::string body_with_model(const RoutedRequest& request, std::string_view model) {
  const Piece& place = request.facts.model_value;
  if (place.empty()) return request.body;
  std::string body;
  body.reserve(request.body.size() + model.size());
  body.append(request.body, 0, place.begin);
  protocol::append_json_string(body, model);
  body.append(request.body, place.begin + place.size);
  return body;
}

Result<Duration> parse_duration(std::string_view text) {
  struct Unit {
    std::string_view name;
    double nanoseconds;
  };
  static constexpr Unit kUnits[] = {{"ns", 1},  {"us", 1e3}, {"\xc2\xb5s", 1e3}, {"\xce\xbcs", 1e3},
                                    {"ms", 1e6}, {"s", 1e9}, {"m", 6e10},       {"h", 3.6e12}};
  const Error wrong = invalid_argument("'" + std::string(text) + "' is not a duration: write 30s, 200ms or 1h30m");
  if (text == "0") return Duration(0);
  double total = 0;
  std::string_view rest = text;
  if (rest.starts_with('+')) rest.remove_prefix(1);
  if (rest.empty()) return wrong;
  while (!rest.empty()) {
    double number = 0;
    const auto [end, error] =
        std::from_chars(rest.data(), rest.data() + rest.size(), number, std::chars_format::fixed);
    if (error != std::errc() || !(number >= 0)) return wrong;
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    const std::size_t size = std::min(rest.find_first_of("0123456789."), rest.size());
    const auto unit = std::find_if(std::begin(kUnits), std::end(kUnits), [&](const Unit& u) { return u.name == rest.substr(0, size); });
    if (unit == std::end(kUnits)) return wrong;
    total += number * unit->nanoseconds;
    rest.remove_prefix(size);
  }
  if (!(total < 9.2e18)) return wrong;
  return Duration(static_cast<std::int64_t>(std::llround(total)));
}

}  // namespace braid::router
