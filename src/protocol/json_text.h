// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace braid::protocol {

// Appends `text` as a JSON string, quotes included. Invalid UTF-8 is the caller's business.
void append_json_string(std::string& out, std::string_view text);
std::string json_string(std::string_view text);

}  // namespace braid::protocol
