// SPDX-License-Identifier: Apache-2.0
#include "gateway/endpoint_list.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "text/yaml.h"

namespace braid::gateway {
namespace {

using Json = nlohmann::ordered_json;

bool to_int(std::string_view text, int& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

// What stands before the first `mark`; `text` keeps what is behind it.
std::string_view cut(std::string_view& text, char mark) {
  const std::size_t at = text.find(mark);
  const std::string_view first = text.substr(0, at);
  text.remove_prefix(at == text.npos ? text.size() : at + 1);
  return first;
}

Result<router::Endpoint> parse_one(std::string_view text) {
  const std::string whole(text);
  router::Endpoint endpoint;
  std::string_view place = cut(text, ';');
  const std::size_t at = place.rfind('@');
  const std::string_view rank = at == place.npos ? std::string_view() : place.substr(at + 1);
  ASSIGN_OR_RETURN(HostPort where, parse_host_port(place.substr(0, at)));
  endpoint.id.address = std::move(where.host);
  endpoint.id.port = where.port;
  endpoint.id.name = endpoint.id.host_port();
  if (at != place.npos) {
    if (!to_int(rank, endpoint.id.rank) || endpoint.id.rank < 0) {
      return invalid_argument("endpoint '" + whole + "': the rank behind '@' must be a number from 0 on", "endpoints");
    }
    endpoint.id.name += "-rank-" + std::to_string(endpoint.id.rank);
    endpoint.labels[std::string(kSharedPortLabel)] = "true";
  }
  while (!text.empty()) {
    std::string_view value = cut(text, ';');
    const std::string_view key = cut(value, '=');
    if (key.empty() || value.empty()) return invalid_argument("endpoint '" + whole + "': labels are written key=value", "endpoints");
    endpoint.labels[std::string(key == "role" ? router::kRoleLabel : key)] = value;
  }
  return endpoint;
}

std::string known_keys() { return "it takes name, namespace, address, port and labels"; }

Result<router::Endpoint> parse_entry(const Json& entry) {
  if (!entry.is_object()) return invalid_argument("an endpoint must be a mapping; " + known_keys());
  router::Endpoint endpoint;
  std::string space;
  for (const auto& [key, value] : entry.items()) {
    if (key == "port" && value.is_number_integer()) {
      endpoint.id.port = value.get<int>();
    } else if (key == "port" && value.is_string() && to_int(value.get_ref<const std::string&>(), endpoint.id.port)) {
    } else if (key == "labels" && value.is_object()) {
      for (const auto& [name, text] : value.items()) endpoint.labels[name] = text.is_string() ? text.get<std::string>() : text.dump();
    } else if (key == "name" && value.is_string()) {
      endpoint.id.name = value.get<std::string>();
    } else if (key == "namespace" && value.is_string()) {
      space = value.get<std::string>();
    } else if (key == "address" && value.is_string()) {
      endpoint.id.address = value.get<std::string>();
    } else {
      return invalid_argument("'" + key + "': " + value.dump() + " is not taken; " + known_keys());
    }
  }
  if (endpoint.id.address.empty()) return invalid_argument("an endpoint has no address");
  if (endpoint.id.port < 1 || endpoint.id.port > 65535) {
    return invalid_argument("endpoint " + endpoint.id.address + ": port " + std::to_string(endpoint.id.port) + " is not one from 1 to 65535");
  }
  if (endpoint.id.name.empty()) endpoint.id.name = endpoint.id.host_port();
  if (!space.empty()) endpoint.id.name = space + "/" + endpoint.id.name;
  const std::size_t rank = endpoint.id.name.rfind("-rank-");
  if (rank != std::string::npos) to_int(std::string_view(endpoint.id.name).substr(rank + 6), endpoint.id.rank);
  return endpoint;
}

Status check_names(const std::vector<router::Endpoint>& endpoints, const std::string& where) {
  std::set<std::string_view> names;
  for (const auto& endpoint : endpoints) {
    if (!names.insert(endpoint.id.name).second) return invalid_argument(where + ": endpoint " + endpoint.id.name + " stands there twice", "endpoints");
  }
  return {};
}

}  // namespace

Result<HostPort> parse_host_port(std::string_view text) {
  HostPort result;
  const std::size_t colon = text.rfind(':');
  const bool bracketed = text.starts_with('[');
  const Error wrong = invalid_argument("'" + std::string(text) + "' is not host:port; write 10.0.0.1:8000, name:8000 or [fd00::1]:8000", "endpoints");
  if (colon == text.npos || colon == 0 || !to_int(text.substr(colon + 1), result.port) || result.port < 1 || result.port > 65535) return wrong;
  std::string_view host = text.substr(0, colon);
  if (bracketed) {
    if (!host.ends_with(']')) return wrong;
    host = host.substr(1, host.size() - 2);
  }
  if (host.empty() || (!bracketed && host.find(':') != host.npos) || host.find_first_of(" /\r\n\t") != host.npos) return wrong;
  result.host = host;
  return result;
}

Result<std::vector<router::Endpoint>> parse_endpoint_list(const std::vector<std::string>& texts) {
  std::vector<router::Endpoint> endpoints;
  for (std::string_view text : texts) {
    while (!text.empty()) {
      const std::string_view one = cut(text, ',');
      if (one.empty()) continue;
      ASSIGN_OR_RETURN(router::Endpoint endpoint, parse_one(one));
      endpoints.push_back(std::move(endpoint));
    }
  }
  RETURN_IF_ERROR(check_names(endpoints, "--endpoints"));
  return endpoints;
}

Result<std::vector<router::Endpoint>> parse_endpoint_file(const std::string& yaml, const std::string& file) {
  const auto json = text::yaml_to_json(yaml);
  if (!json.ok()) return json.error().within(file);
  const Json document = Json::parse(*json, nullptr, false);
  if (!document.is_object() || document.size() != 1 || !document.contains("endpoints") || !document["endpoints"].is_array()) {
    return invalid_argument(file + ": expected one key, endpoints, with a list", "endpoints-file");
  }
  std::vector<router::Endpoint> endpoints;
  for (const Json& entry : document["endpoints"]) {
    auto endpoint = parse_entry(entry);
    if (!endpoint.ok()) return endpoint.error().within(file + ": endpoints[" + std::to_string(endpoints.size()) + "]");
    endpoints.push_back(std::move(*endpoint));
  }
  RETURN_IF_ERROR(check_names(endpoints, file));
  return endpoints;
}

}  // namespace braid::gateway
