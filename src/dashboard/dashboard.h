// SPDX-License-Identifier: Apache-2.0
// /dashboard of engines and routers: one page without anything from outside, which asks
// /dashboard/data for what it shows (docs/observability.md tells what that is). Where there are API keys one
// must come: as a bearer token, or as the password that a browser asks its user for.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "net/http_message.h"

namespace braid::dashboard {

inline constexpr std::string_view kPagePath = "/dashboard";
inline constexpr std::string_view kDataPath = "/dashboard/data";

// Everything for a bug report, as JSON; not for browsers.
inline constexpr std::string_view kReportPath = "/debug/report";

// HTML with style and script inside; from the files in page/.
std::string_view page();
net::Response page_response();
net::Response data_response(std::string json);

// A key as bearer token or in x-api-key. Without keys: true.
bool has_key(const net::Request& request, const std::vector<std::string>& keys);
// The same, or as the password of basic authorization.
bool may_look(const net::Request& request, const std::vector<std::string>& keys);
// 401 that makes a browser ask for the password.
net::Response challenge();

}  // namespace braid::dashboard
