// SPDX-License-Identifier: Apache-2.0
#include "gateway/headers.h"

#include <algorithm>
#include <cctype>
#include <string>

namespace braid::gateway {
namespace {

constexpr std::string_view kOfOneConnection[] = {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
                                                 "te", "trailer", "transfer-encoding", "upgrade"};
constexpr std::string_view kWrittenAnew[] = {"host", "content-length", "expect", "x-forwarded-for"};
constexpr std::string_view kWrittenByOurServer[] = {"content-length", "content-type", "date", "server"};
constexpr std::string_view kSubset = "x-gateway-destination-endpoint-subset";

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

template <class Names>
bool one_of(const Names& names, std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

// Whether the Connection header lists `name`.
bool listed(std::string_view connection, std::string_view name) {
  while (!connection.empty()) {
    const std::size_t comma = connection.find(',');
    std::string_view word = connection.substr(0, comma);
    while (word.starts_with(' ')) word.remove_prefix(1);
    while (word.ends_with(' ')) word.remove_suffix(1);
    if (lower(word) == name) return true;
    connection.remove_prefix(comma == connection.npos ? connection.size() : comma + 1);
  }
  return false;
}

}  // namespace

bool only_routers_set(std::string_view name) { return name == kSubset || one_of(router::routing_headers(), name); }

router::HeaderList from_client(const net::Request& request) {
  const std::string_view connection = request.header("connection");
  router::HeaderList headers;
  headers.reserve(request.headers.size() + 2);
  for (const net::Header& h : request.headers) {
    std::string name = lower(h.name);
    if (one_of(kOfOneConnection, name) || one_of(kWrittenAnew, name)) continue;
    if (only_routers_set(name) || listed(connection, name)) continue;
    headers.emplace_back(std::move(name), h.value);
  }
  const std::string_view before = request.header("x-forwarded-for");
  headers.emplace_back("x-forwarded-for", before.empty() ? request.peer : std::string(before) + ", " + request.peer);
  return headers;
}

std::vector<net::Header> from_endpoint(const std::vector<net::Header>& headers) {
  const std::string_view connection = net::find_header(headers, "connection");
  std::vector<net::Header> out;
  out.reserve(headers.size() + 4);
  for (const net::Header& h : headers) {
    const std::string name = lower(h.name);
    if (one_of(kOfOneConnection, name) || one_of(kWrittenByOurServer, name) || listed(connection, name)) continue;
    out.push_back(h);
  }
  return out;
}

void set_header(router::HeaderList& headers, std::string_view name, std::string_view value) {
  for (auto& [key, old] : headers) {
    if (key == name) {
      old = value;
      return;
    }
  }
  headers.emplace_back(name, value);
}

std::vector<net::Header> to_wire(const router::HeaderList& headers) {
  std::vector<net::Header> out;
  out.reserve(headers.size());
  for (const auto& [name, value] : headers) out.push_back({name, value});
  return out;
}

}  // namespace braid::gateway
