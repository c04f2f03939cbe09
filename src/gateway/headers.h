// SPDX-License-Identifier: Apache-2.0
// Which headers pass the gateway. Those of one connection (RFC 9110, 7.6.1) never do, nor do those that
// only a router may set: a client that could name a prefiller would make servers call any address.
#pragma once

#include <string_view>
#include <vector>

#include "net/http_message.h"
#include "router/request.h"

namespace braid::gateway {

// A client's headers with names in lower case, without those above, host, content-length and expect;
// x-forwarded-for tells the client's address.
router::HeaderList from_client(const net::Request& request);

// Whether a header called `name` (lower case) may not come from a client.
bool only_routers_set(std::string_view name);

// What an endpoint's answer brings to the client beside content-type: without what our own server writes.
std::vector<net::Header> from_endpoint(const std::vector<net::Header>& headers);

// Sets `name` (lower case), whether it is there or not.
void set_header(router::HeaderList& headers, std::string_view name, std::string_view value);

std::vector<net::Header> to_wire(const router::HeaderList& headers);

}  // namespace braid::gateway
