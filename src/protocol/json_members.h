// SPDX-License-Identifier: Apache-2.0
// Reads and changes the members of a JSON object in its text, without building a document: what is not
// touched stays byte for byte as it came.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace braid::protocol {

struct JsonMember {
  std::string_view key;    // as written between the quotes
  std::string_view value;  // its JSON, without blanks around
};

// The members of the object that `text` is, in their order; views into `text`. Values are skipped, not
// checked. Errors: not one object.
Result<std::vector<JsonMember>> json_members(std::string_view text);

// The value of the last member called `key`, or an empty view.
std::string_view find_member(const std::vector<JsonMember>& members, std::string_view key);

struct JsonEdit {
  std::string key;
  std::optional<std::string> value;  // JSON; none: the member is taken out
};

// The object with these members set (at its end, if they are new) or taken out.
std::string edit_members(const std::vector<JsonMember>& members, const std::vector<JsonEdit>& edits);

}  // namespace braid::protocol
